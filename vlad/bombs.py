"""What a picture file would cost out of all proportion, told before it is decoded."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import BinaryIO

BYTES_A_PIXEL = 8  # of 16-bit RGBA, the largest that is read
SLACK = 2**24  # bytes of a file beside its pixels
MAX_SCANS = 500  # of a JPEG; programs write at most a few dozen
MAX_COMMENTS = 1000  # of a PPM in plain text: Pillow copies a megabyte to drop one
_PLAIN = (b"P1", b"P2", b"P3")
_LAYERS = 8  # times that the parts of a picture may cover it: once for each channel

_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_WIDTH, _HEIGHT, _STRIPS, _TILE_WIDTH, _TILE_HEIGHT, _TILES = 256, 257, 273, 322, 323, 324


def check_file(file: BinaryIO, kind: str, max_pixels: int) -> None:
    """Raise ValueError for a file that costs more than any picture of `max_pixels` should.

    Pillow keeps some files whole in memory, walks others byte by byte, decodes every scan that a
    JPEG lists, makes an object for every strip that a TIFF lists, and takes time that grows with
    the square of the comments in a plain-text PPM. The file is rewound.
    """
    size = file.seek(0, 2)
    file.seek(0)
    most = BYTES_A_PIXEL * max_pixels + SLACK
    if size > most:
        raise ValueError(f"its {size:,} bytes are over the {most:,} that the pixel limit allows")
    if kind == "JPEG" and _scans(file.read()) > MAX_SCANS:
        raise ValueError(f"it has more than {MAX_SCANS} scans")
    file.seek(0)
    if kind == "TIFF":
        _check_tiff(file, max_pixels)
    if kind == "PPM" and file.read(2) in _PLAIN and _comments(file) > MAX_COMMENTS:
        raise ValueError(f"it has more than {MAX_COMMENTS:,} comments")
    file.seek(0)


def check_parts(boxes: Sequence[tuple[int, int, int, int]], size: tuple[int, int]) -> None:
    """Raise ValueError where the parts to be decoded cover a picture of (W, H) many times over."""
    if sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes) > _LAYERS * size[0] * size[1]:
        raise ValueError("its parts cover it many times over")


def _comments(file: BinaryIO) -> int:
    return sum(part.count(b"#") for part in iter(lambda: file.read(2**20), b""))


def _scans(data: bytes) -> int:
    """Number of scans of a JPEG up to its end; no more are counted than are one too many."""
    found, at = 0, 2
    while found <= MAX_SCANS and (marker := _MARKER.search(data, at)):
        kind, at = data[marker.end() - 1], marker.end()
        if kind == 0xD9:  # end of the picture; more may follow in the file
            break
        found += kind == 0xDA
        if kind not in (0x01, 0xD8):  # all others state their length
            at += int.from_bytes(data[at : at + 2], "big")
    return found


def _check_tiff(file: BinaryIO, max_pixels: int) -> None:
    """Looks at the first page alone, as it is the one that is read."""
    start = file.read(16)
    order = "<" if start[:2] == b"II" else ">"
    big = 43 in start[2:4]
    at, count, entry = ("Q", "Q", "HHQ8s") if big else ("I", "H", "HHI4s")
    (offset,) = struct.unpack_from(order + at, start, 8 if big else 4)
    file.seek(offset)
    head = file.read(struct.calcsize(order + count))
    length = struct.calcsize(order + entry)
    entries = min(struct.unpack(order + count, head)[0], 65535)
    table = file.read(entries * length)
    counts, values = {}, {}
    for place in range(0, len(table) - length + 1, length):
        tag, kind, number, value = struct.unpack_from(order + entry, table, place)
        counts[tag] = number
        if number == 1 and kind in (3, 4):
            values[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), value)[0]
    width, height = values.get(_WIDTH, 0), values.get(_HEIGHT, 0)
    # no strip is lower than a row, and no tile smaller than 16×16
    most = 64 + _LAYERS * (height + width * height // 256)
    parts = max(counts.get(_STRIPS, 0), counts.get(_TILES, 0))
    if parts > most:
        raise ValueError(f"it lists {parts:,} parts for {width}×{height} pixels")
    if values.get(_TILE_WIDTH, 0) * values.get(_TILE_HEIGHT, 0) > max_pixels:
        raise ValueError("one of its tiles is over the pixel limit")
