"""Detect image files of disproportionate cost before they are decoded."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

BYTES_A_PIXEL = 8  # of 16-bit RGBA, the largest type supported
SLACK = 2**24  # bytes allowed in a file besides its pixels
MAX_SCANS = 500  # of a JPEG; programs write at most a few dozen
MAX_SEGMENTS = 1000  # of a JPEG besides its scans; an ICC profile fills 255 at most
MAX_READS = 200_000  # of the file before Pillow reaches the pixels
MAX_COMMENTS = 1000  # of a plain-text PPM: Pillow copies a megabyte to drop one
_PLAIN = (b"P1", b"P2", b"P3")
_MOST = 2**19  # numbers in the tags of a TIFF; a colour map has 196,608
_LAYERS = 8  # how often the parts of an image may cover it: once per channel

_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_BARE = (0x01, 0xC8, 0xD8, 0xD9, *range(0xF0, 0xFE))  # markers after which Pillow skips nothing
_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
_PARTS = (273, 279, 324, 325)  # offsets and byte counts of strips and tiles
_FURTHER = (34665, 34853, 40965)  # tags that point to further tags, which Pillow also reads
_WHOLE = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q"}
_BYTES = (1, 2, 7)  # types that stay bytes; each value of other types becomes an object


class Reads:
    """A file that allows MAX_READS reads, regardless of their size.

    Pillow walks the chunks of a PNG, the blocks of a GIF, the header of a PPM and the runs of a BMP
    in Python, and keeps some of them.
    """

    def __init__(self, file: BinaryIO):
        self.file, self.left = file, float(MAX_READS)
        self.size = file.seek(0, 2)
        file.seek(0)

    def read(self, *size: int) -> bytes:
        """Read from the file; raise ValueError after too many reads."""
        self.left -= 1
        if self.left < 0:
            raise ValueError("it is cut into too many pieces")
        return self.file.read(*size)

    def allow(self, kind: str, pixels: int) -> None:
        """Allow as many reads again for the pixels, plus those that they may need."""
        # a chunk of a PNG, and a run of a BMP, takes a few
        self.left = MAX_READS + {"PNG": self.size // 512, "BMP": 4 * pixels}.get(kind, math.inf)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def check_file(file: BinaryIO, kind: str, max_pixels: int) -> None:
    """Raise ValueError for a file that costs more than any image of `max_pixels` should.

    Pillow keeps some files whole in memory, decodes every scan of a JPEG, creates an object for
    every strip and many numbers in a TIFF, and takes time quadratic in the segments of a JPEG and
    the comments in a plain-text PPM. The file is rewound.
    """
    size = file.seek(0, 2)
    file.seek(0)
    most = BYTES_A_PIXEL * max_pixels + SLACK
    if size > most:
        raise ValueError(f"its {size:,} bytes are over the {most:,} that the pixel limit allows")
    if kind == "JPEG":
        _check_jpeg(file.read())
    file.seek(0)
    if kind == "TIFF":
        _check_tiff(file, max_pixels)
    if kind == "PPM" and file.read(2) in _PLAIN and _comments(file) > MAX_COMMENTS:
        raise ValueError(f"it has more than {MAX_COMMENTS:,} comments")
    file.seek(0)


def check_parts(boxes: Sequence[tuple[int, int, int, int]], size: tuple[int, int]) -> None:
    """Raise ValueError if the parts to decode cover an image of (W, H) many times over."""
    if sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes) > _LAYERS * size[0] * size[1]:
        raise ValueError("its parts cover it many times over")


def _comments(file: BinaryIO) -> int:
    return sum(part.count(b"#") for part in iter(lambda: file.read(2**20), b""))


def _check_jpeg(data: bytes) -> None:
    """Walk the segments like Pillow, up to the end of the image."""
    scans, segments, at = 0, 0, 2
    while marker := _MARKER.search(data, at):
        kind, at = data[marker.end() - 1], marker.end()
        if kind == 0xD9 and scans:  # end of the image; more may follow in the file
            break
        scans += kind == 0xDA
        segments += kind != 0xDA
        if scans > MAX_SCANS:
            raise ValueError(f"it has more than {MAX_SCANS} scans")
        if segments > MAX_SEGMENTS:
            raise ValueError(f"it has more than {MAX_SEGMENTS:,} segments")
        if kind not in _BARE:  # all others state their length
            at += int.from_bytes(data[at : at + 2], "big")


def _check_tiff(file: BinaryIO, max_pixels: int) -> None:
    """Check only the first page, the one that is read."""
    start = file.read(16)
    order = "<" if start[:2] == b"II" else ">"
    big = 43 in start[2:4]
    (offset,) = struct.unpack_from(order + ("Q" if big else "I"), start, 8 if big else 4)
    entries = _entries(file, offset, order, big)
    counts: dict[int, int] = {}
    values: dict[int, int] = {}
    for tag, kind, number, value in entries:
        counts[tag] = max(number, counts.get(tag, 0))
        if number == 1 and kind in _WHOLE:
            values[tag] = struct.unpack_from(order + _WHOLE[kind], value.ljust(8))[0]
    width, height = values.get(_WIDTH, 0), values.get(_HEIGHT, 0)
    # no strip is lower than a row, and no tile smaller than 16×16
    most = 64 + _LAYERS * (height + width * height // 256)
    parts = max(counts.get(tag, 0) for tag in _PARTS)
    if parts > most:
        raise ValueError(f"it lists {parts:,} parts for {width}×{height} pixels")
    if values.get(_TILE_WIDTH, 0) * values.get(_TILE_HEIGHT, 0) > max_pixels:
        raise ValueError("one of its tiles is over the pixel limit")
    seen = {offset}
    while entries:
        if sum(n for tag, kind, n, _ in entries if not (tag in _PARTS or kind in _BYTES)) > _MOST:
            raise ValueError(f"its tags hold more than {_MOST:,} numbers")
        further = {
            int.from_bytes(value, "little" if order == "<" else "big")
            for tag, _, number, value in entries
            if tag in _FURTHER and number == 1
        }
        entries = [e for at in further - seen for e in _entries(file, at, order, big)]
        seen |= further


def _entries(
    file: BinaryIO, offset: int, order: str, big: bool
) -> list[tuple[int, int, int, bytes]]:
    """Tag, type, number of values, and the values or their offset, of each entry at an offset."""
    count, entry = ("Q", "HHQ8s") if big else ("H", "HHI4s")
    if offset > file.seek(0, 2):
        return []
    file.seek(offset)
    head = file.read(struct.calcsize(order + count))
    if len(head) < struct.calcsize(order + count):
        return []
    length = struct.calcsize(order + entry)
    table = file.read(min(struct.unpack(order + count, head)[0], 65535) * length)
    whole = len(table) // length * length
    return list(struct.iter_unpack(order + entry, table[:whole]))
