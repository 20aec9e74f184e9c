"""benchmarks/gpu.py on a CPU: every section runs, and it ends when its time does."""

import sys
from pathlib import Path

import pytest
import torch

SECTIONS = {
    *("device", "exactness", "extraction", "heads", "files", "memory", "musc", "training"),
    "compiled",
}


@pytest.fixture
def run(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import gpu

    def call(*options):
        monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", *options])
        gpu.main()

    return call


def test_every_section_runs(run, capsys):
    run("--heads", "memory", "uniadet", "vlm", "--minutes", "600")
    printed = capsys.readouterr().out
    rows = [line.strip("| ").split(" | ") for line in printed.splitlines() if line[:2] == "| "]
    named = {row[0]: row[1:] for row in rows[2:]}
    assert {name.split()[0].rstrip(":,") for name in named} == SECTIONS
    assert named["exactness: memory"][:2] == ["0.0e+00", "of the largest"]
    assert "model" in named["exactness: vlm"][2]
    assert "Left out" not in printed


def test_an_error_costs_its_row_and_not_the_table(run, monkeypatch, capsys):
    import gpu

    def broken(setup):
        yield "memory of 4 images", 1.0, "images/s", ""
        raise torch.OutOfMemoryError("no room | here\nand more")

    monkeypatch.setitem(gpu.SECTIONS, "memory", broken)
    monkeypatch.setattr("gpu_exact.scored", lambda *_: torch.eye(2) @ torch.eye(3))
    with pytest.raises(SystemExit, match=r"failed: exactness: memory, exactness: padim, memory\."):
        run("--sections", "exactness", "memory", "musc", "--heads", "memory", "padim")
    printed = capsys.readouterr().out
    assert "| memory of 4 images | 1 |" in printed and "| musc of 4 images, float32 |" in printed
    assert "| memory | failed |  | OutOfMemoryError: no room / here |" in printed
    assert "what remained of memory" in printed


def test_when_the_time_is_over_it_says_what_it_left_out(run, capsys):
    run("--minutes", "0", "--sections", "musc", "memory")
    assert "Left out, after 0 minutes or errors: musc, memory." in capsys.readouterr().out


def test_a_head_that_differs_is_an_error(run, monkeypatch):
    monkeypatch.setattr("gpu_exact.deviation", lambda *_: 2e-3)
    with pytest.raises(SystemExit, match=r"Further from the CPU than 0.001: exactness: memory; "):
        run("--sections", "exactness", "--heads", "memory")


def test_the_time_that_the_device_waits_is_measured(run, monkeypatch):
    import gpu_speed
    from gpu_setup import Setup

    def scored(panel, samples, **_):
        with panel.clock.part("backbone"):
            now.append(3.0)
        return iter([samples])

    now = [0.0]
    monkeypatch.setattr("vlad.system.clock.time.perf_counter", lambda: now[-1])
    monkeypatch.setattr(Setup, "once", lambda self, call: (call(), 4.0)[1])
    monkeypatch.setattr(gpu_speed, "score_samples", scored)
    row, *_ = gpu_speed.files(Setup(torch.device("cpu"), ("memory",)))
    assert row[3] == "2 threads read; the device waited 25% of the time for reading"


def test_figures_of_a_cpu_are_not_written(run, capsys):
    with pytest.raises(SystemExit):
        run("--write")
    assert "needs a GPU" in capsys.readouterr().err
