"""What the processor can do, read off what Linux says of it."""

import platform

import pytest

from vlad.system import processor

INTEL = """processor\t: 0
model name\t: Intel(R) Xeon(R) CPU
flags\t\t: fpu avx2 {}

processor\t: 1
model name\t: another
flags\t\t: fpu avx512_vnni avx512_bf16
"""
ARM = "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd {}\n\n"


@pytest.fixture
def on(monkeypatch, tmp_path):
    """Makes this machine look like another: its architecture and its /proc/cpuinfo, if any."""

    def pretend(architecture: str, cpuinfo: str | None) -> None:
        if cpuinfo is not None:
            (tmp_path / "cpuinfo").write_text(cpuinfo)
        monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
        monkeypatch.setattr(platform, "machine", lambda: architecture)
        monkeypatch.setattr(platform, "processor", lambda: "")

    return pretend


@pytest.mark.parametrize(
    ("architecture", "cpuinfo", "exact", "bfloat16"),
    [
        ("x86_64", INTEL.format(""), False, False),
        ("x86_64", INTEL.format("avx512f avx512bw"), False, False),
        ("x86_64", INTEL.format("avx512f avx512_vnni"), True, False),
        ("x86_64", INTEL.format("avx_vnni"), True, False),
        ("x86_64", INTEL.format("avx512_vnni avx512_bf16"), True, True),
        ("x86_64", INTEL.format("amx_bf16"), False, True),
        ("aarch64", ARM.format("asimddp"), True, False),
        ("aarch64", ARM.format("bf16"), True, True),
        ("arm64", None, True, False),
        ("AMD64", None, False, False),
        ("AMD64", "no such thing", False, False),
    ],
)
def test_what_it_has_instructions_for(on, architecture, cpuinfo, exact, bfloat16):
    on(architecture, cpuinfo)
    assert (processor.sums_bytes_exactly(), processor.has_bfloat16()) == (exact, bfloat16)


def test_it_has_a_name(on):
    on("x86_64", INTEL)
    assert processor.name() == "Intel(R) Xeon(R) CPU"
    on("aarch64", ARM)
    assert processor.name() == "aarch64"
