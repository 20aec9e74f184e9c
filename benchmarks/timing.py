"""Helpers for benchmarks: interleaved timing, ratios, the machine, and Markdown tables."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version

import torch

from vlad.system import machine as described


def interleaved(cases: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each case in each of `repeats` rounds, after one warm-up round.

    Every other round runs the cases backwards, so that none always follows the same one.
    """
    for run in cases.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(repeats):
        for name in reversed(cases) if turn % 2 else cases:
            start = time.perf_counter()
            cases[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median over rounds of one case's time in units of another's."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def machine(packages: Iterable[str] = ()) -> str:
    """Processor, cores, threads, versions and date in one line.

    Args:
        packages: distributions whose versions to add to those of vlad and torch.
    """
    found = described.machine(torch.device("cpu"))
    versions = [f"{name} {found[name]}" for name in ("vlad", "torch")]
    versions += [f"{name} {version(name)}" for name in packages]
    today = datetime.now(timezone.utc).date()
    return (
        f"{found['cpu']}, {found['cores']} cores, {found['threads']} threads; "
        f"{', '.join(versions)}; {today}"
    )


def table(rows: Iterable[Sequence[object]], header: Sequence[str]) -> str:
    """A Markdown table; floats with three digits or more, the first column to the left."""

    def cell(x: object) -> str:
        return str(x) if not isinstance(x, float) else f"{x:.3g}" if abs(x) < 1000 else f"{x:.0f}"

    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    lines += [[cell(x) for x in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
