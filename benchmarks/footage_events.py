"""What `vlad video` finds in the footage of `footage.py`.

    python benchmarks/footage.py DATA OUT
    vlad video OUT/test.mp4 --normal OUT/good --normal-footage OUT/normal.mp4 --alarms-per-hour 75 \
        --out RUN
    python benchmarks/footage_events.py OUT RUN...

For each head: AUROC of frames, of scores as they are and smoothed; defects with an event, those
whose highest region overlaps the defect; events without a defect within 1 s, an hour, beside the
rate that was promised.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from timing import table

from vlad.metrics import auroc

NEAR = 1.0  # seconds around a defect in which an event is due to it


@dataclass(frozen=True)
class Defect:
    """From when to when a defect shows, seconds, and its box at each of them."""

    first: float
    last: float
    boxes: dict[float, list[float]]

    def near(self, first: float, last: float, margin: float = NEAR) -> bool:
        return first <= self.last + margin and last >= self.first - margin


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def defects_of(labels: list[dict[str, str]]) -> list[Defect]:
    """The defects of labels.csv, one a part."""
    boxes: dict[str, dict[float, list[float]]] = {}
    for row in labels:
        if row["part"]:
            box = [float(row[name]) for name in ("x", "y", "width", "height")]
            boxes.setdefault(row["part"], {})[float(row["seconds"])] = box
    return [Defect(min(own), max(own), own) for own in boxes.values()]


def overlaps(a: list[float], b: list[float]) -> bool:
    return all(a[i] < b[i] + b[i + 2] and b[i] < a[i] + a[i + 2] for i in (0, 1))


def marked(event: str, tracks: list[dict[str, str]], defects: list[Defect]) -> bool:
    """Whether the highest region of an event overlaps a defect in its frame."""
    own = [row for row in tracks if row["event"] == event]
    if not own:
        return False
    best = max(own, key=lambda row: float(row["score"]))
    box = [float(best[name]) for name in ("x", "y", "width", "height")]
    at = float(best["seconds"])
    return any(
        overlaps(box, there)
        for defect in defects
        for when, there in defect.boxes.items()
        if abs(when - at) < 0.01
    )


def measured(footage: Path, run: Path) -> Iterator[list[str]]:
    """A row for each head."""
    labels, scores = rows_of(footage / "labels.csv"), rows_of(run / "scores.csv")
    events, tracks = rows_of(run / "events.csv"), rows_of(run / "tracks.csv")
    rules = json.loads((run / "thresholds.json").read_text("utf-8"))
    defects = defects_of(labels)
    shown = {round(float(row["seconds"]), 3) for row in labels if row["part"]}
    truth = [round(float(row["seconds"]), 3) in shown for row in scores]
    times = [float(row["seconds"]) for row in scores]
    quiet = sum(not any(d.near(at, at) for d in defects) for at in times) / len(times)
    hours = quiet * (max(times) - min(times)) / 3600
    for head, found in rules["hourly"].items():
        own = [row for row in events if row["head"] == head]
        spans = [(float(row["start"]), float(row["end"])) for row in own]
        hit = [any(d.near(*span, 0) for span in spans) for d in defects]
        real = [row for row, span in zip(own, spans, strict=True)
                if any(d.near(*span) for d in defects)]  # fmt: skip
        alarms = len(own) - len(real)
        there = sum(marked(row["event"], tracks, defects) for row in real)
        areas = [auroc([float(row[name]) for row in scores], truth)
                 for name in (head, f"{head}_smoothed")]  # fmt: skip
        low, high = found["rates"]
        yield [
            run.name,
            head,
            *(f"{100 * area:.1f}" for area in areas),
            f"{sum(hit)} of {len(defects)}",
            f"{there} of {len(real)}",
            f"{found['rate']:g} ({low:.0f} to {high:.0f})",
            f"{alarms / hours:.0f} ({alarms} in {60 * hours:.1f} min)",
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("footage", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    given = parser.parse_args()
    head = ["run", "head", "AUROC", "smoothed", "defects found", "region on the defect"]
    head += ["false alarms an hour promised", "found"]
    print(table([row for run in given.runs for row in measured(given.footage, run)], head))


if __name__ == "__main__":
    main()
