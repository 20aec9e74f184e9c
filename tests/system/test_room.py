"""What a GPU has room for; there need be none, since it is only asked for its free memory."""

import pytest
import torch

from vlad.system.room import entries, holds

GIB = 1 << 30


@pytest.fixture
def free(monkeypatch):
    """(bytes) -> a GPU with so many bytes free, some of them kept by torch."""

    def have(size):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (size - 3 * GIB, 0))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 4 * GIB)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: GIB)

    return have


def test_a_block_takes_an_eighth_of_the_free_memory_up_to_a_gibibyte(free):
    free(4 * GIB)
    assert entries("cuda", 1000) == 4 * GIB // 8 // 4
    free(8 * GIB)
    assert entries("cuda", 1000) == GIB // 4
    free(80 * GIB)
    assert entries("cuda", 1000) == GIB // 4
    free(4 * GIB)
    assert entries("cuda", GIB) == GIB  # the least
    assert entries("cpu", 1000) == 1000


def test_a_tensor_fits_into_half_of_the_free_memory(free):
    free(4 * GIB)
    tensor = torch.empty(2 * GIB, dtype=torch.uint8, device="meta")
    assert holds("cuda", tensor) and not holds("cpu", tensor)
    assert not holds("cuda", torch.empty(2 * GIB + 1, dtype=torch.uint8, device="meta"))
