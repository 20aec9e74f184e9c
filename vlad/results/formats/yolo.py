"""YOLO: a text file for each image, empty for one without regions, and data.yaml."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from vlad.results.formats.findings import Finding, Findings
from vlad.system.files import atomic_write
from vlad.system.text import encode


def write(found: Findings, out: Path) -> None:
    """Write labels/<id>.txt with a line for each region: class, and its box as shares of the image.

    A box is centre x, centre y, width and height. Scores and verdicts have no place in the format.

    Raises:
        OSError, OutputError: a file cannot be written.
    """
    _write(found, out, _boxes)


def write_outlines(found: Findings, out: Path) -> None:
    """Write labels/<id>.txt with a line for each outline: class, and its corners as shares.

    A region whose parts touch only at corners has an outline for each of them.

    Raises:
        OSError, OutputError: a file cannot be written.
    """
    _write(found, out, _outlines)


def _write(found: Findings, out: Path, shapes: Callable[[Finding], Iterable[list[float]]]) -> None:
    numbers = {kind: number for number, kind in enumerate(found.kinds)}
    for image in found.images:
        lines = [
            " ".join([str(numbers[image.kind]), *(f"{value:.6f}" for value in shape)]) + "\n"
            for shape in shapes(image)
        ]
        # plainly, for to sync each of many small files takes minutes
        file = out / "labels" / f"{image.sample.id}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(lines), encoding="utf-8")
    # a string of JSON is one of YAML, whatever is in it
    names = [f"  {number}: {json.dumps(kind)}\n" for kind, number in numbers.items()]
    head = "train: images\nval: images\nnames:\n"
    atomic_write(out / "data.yaml", encode(head + "".join(names)))


def _boxes(image: Finding) -> Iterator[list[float]]:
    width, height = image.size
    for region in image.regions:
        x, y, across, down = region.box
        right, bottom = min(x + across, width), min(y + down, height)
        yield [
            (x + right) / 2 / width,
            (y + bottom) / 2 / height,
            (right - x) / width,
            (bottom - y) / height,
        ]


def _outlines(image: Finding) -> Iterator[list[float]]:
    width, height = image.size
    for region in image.regions:
        for outline in region.outlines:
            yield [value for x, y in outline for value in (x / width, y / height)]
