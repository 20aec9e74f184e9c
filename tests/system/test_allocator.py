"""What commands tell the C library about freed memory."""

import ctypes
from types import SimpleNamespace

from vlad.system.allocator import keep_freed_memory


def test_blocks_below_a_gibibyte_stay_with_the_process(monkeypatch):
    calls = []
    glibc = SimpleNamespace(mallopt=lambda *call: calls.append(call))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: glibc)
    keep_freed_memory()
    assert calls == [(-3, 1 << 30), (-1, 1 << 30)]  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    keep_freed_memory()
