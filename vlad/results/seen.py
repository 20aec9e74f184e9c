"""How the images of a run look as a whole, in its file seen.jsonl.

A line an image, ASCII: path, brightness, sharpness, and the float16 numbers of its embedding in
base64. Lines are appended before the rows of their images, so every row of a run that was killed
has its line; where an image has several, the last one counts.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np

from vlad.results.folder import RunFolder
from vlad.results.lines import append_lines, read_lines
from vlad.types import Seen

FILE = "seen.jsonl"


def append_seen(out: Path, seen: Iterable[tuple[str, Seen]]) -> None:
    """Append how images look to the file in the folder of a run.

    Args:
        seen: path and how it looks, of each.

    Raises:
        OutputError: the file cannot be written.
    """
    append_lines(out / FILE, (_value(path, one) for path, one in seen))


def read_seen(folder: RunFolder, only: Collection[str] | None = None) -> dict[str, Seen]:
    """Path -> how it looks, of the images of a run that have a score, in the order of its rows.

    Images that an earlier version of vlad or Ray scored are missing.

    Args:
        only: the paths to read; None reads all, which takes memory for each embedding.
    """
    found = {
        path: line
        for path, line in _lines(folder.out / FILE)
        if folder.rows.scored(path) and (only is None or path in only)
    }
    return {path: _seen(found[path]) for path in folder.rows if path in found}


def _value(path: str, seen: Seen) -> list:
    numbers = base64.b64encode(seen.embedding.astype("<f2").tobytes()).decode()
    return [path, seen.brightness, seen.sharpness, numbers]


def _lines(file: Path) -> Iterator[tuple[str, list]]:
    """Path and content of each line."""
    for found in read_lines(file):
        if isinstance(found, list) and [type(x) for x in found] == [str, float, float, str]:
            yield found[0], found[1:]


def _seen(line: list) -> Seen:
    brightness, sharpness, numbers = line
    embedding = np.frombuffer(base64.b64decode(numbers), "<f2").astype(np.float32)
    return Seen(brightness, sharpness, embedding)
