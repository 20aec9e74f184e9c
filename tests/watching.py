"""What tests of `vlad watch` share."""

from __future__ import annotations

import csv
import time


def rows(out) -> list[dict[str, str]]:
    try:
        with open(
            out / "scores.csv", newline="", encoding="utf-8", errors="surrogateescape"
        ) as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []


def until(holds, process) -> None:
    deadline = time.monotonic() + 600
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
