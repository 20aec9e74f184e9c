"""Large images in tiles: cut them, and combine the scores of tiles.

A tile passes through the backbone like an image of its own, so a defect of a few pixels is not lost
when a large image is shrunk:

- Tiles are squares of `tile` pixels of the original image, spaced evenly, the last one ending at
  the border. Neighbours share at least the fraction `overlap` of a tile.
- A side no longer than a tile has one tile of the whole side, resized to the square of the
  backbone's input like whole images; an image with no longer side is a single tile.
- The image score is the maximum over tiles. It grows slightly with their number, so compare images
  of about the same size.
- The anomaly map has the size of the image. Each pixel is the mean of the tiles that cover it,
  weighted by its distance from their borders, so tiles blend linearly into each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from PIL import Image

from vlad.errors import InputError
from vlad.images.resize import resize_map
from vlad.types import Scores

Box = tuple[int, int, int, int]  # left, top, right, bottom, as in `Image.crop`
Span = tuple[int, int]  # from, to

MIN_TILE = 32
MAX_OVERLAP = 0.9  # above this, every pixel would pass the backbone a hundred times


@dataclass(frozen=True)
class Tiling:
    """How to cut images.

    Args:
        tile: side of a tile in pixels of the original image; None leaves images whole.
        overlap: smallest fraction of a tile that neighbours share, in [0, 0.9).

    Raises:
        InputError: either is out of range.
    """

    tile: int | None = None
    overlap: float = 0.25

    def __post_init__(self) -> None:
        if self.tile is not None and not (isinstance(self.tile, int) and self.tile >= MIN_TILE):
            raise InputError(
                f"A tile of {self.tile!r} pixels is too small or not a whole number; give "
                f"{MIN_TILE} or more."
            )
        number = type(self.overlap) in (int, float)
        if not number or not 0 <= self.overlap < MAX_OVERLAP:  # written so that NaN fails
            raise InputError(
                f"Tiles cannot overlap by {self.overlap!r}; give a fraction from 0 to below "
                f"{MAX_OVERLAP}."
            )

    @property
    def settings(self) -> dict[str, float | None]:
        """`tile` and `overlap` as runs record them; images left whole have neither."""
        return {"tile": self.tile, "overlap": None if self.tile is None else self.overlap}

    def boxes(self, size: tuple[int, int]) -> list[Box]:
        """The tiles of an image of (width, height), row by row."""
        if self.tile is None:
            return [(0, 0, *size)]
        return tile_boxes(size, self.tile, self.overlap)

    def cut(self, image: Image.Image) -> Iterator[Image.Image]:
        """The cut tiles of an image, in the same order."""
        boxes = self.boxes(image.size)
        return iter([image]) if len(boxes) == 1 else map(image.crop, boxes)


WHOLE = Tiling()


def spans(length: int, tile: int, overlap: float) -> list[Span]:
    """The tiles along one side of `length` pixels; their spacing differs by at most one pixel."""
    if length <= tile:
        return [(0, length)]
    spacing = tile - ceil(tile * overlap)
    steps = ceil((length - tile) / spacing)
    starts = (i * (length - tile) // steps for i in range(steps + 1))
    return [(start, start + tile) for start in starts]


def tile_boxes(size: tuple[int, int], tile: int, overlap: float) -> list[Box]:
    """The tiles of an image, row by row.

    Args:
        size: (width, height).
        tile, overlap: as in `Tiling`.
    """
    columns, rows = (spans(length, tile, overlap) for length in size)
    return [(left, top, right, bottom) for top, bottom in rows for left, right in columns]


def blend_weights(along: list[Span]) -> list[np.ndarray]:
    """The weight of each tile along a side at its pixels; weights sum to 1 at every pixel.

    Before normalisation, weights are the distance to the nearer end of the tile.
    """
    weights, total = [], np.zeros(along[-1][1])
    for start, stop in along:
        inside = np.arange(stop - start) + 0.5
        weights.append(np.minimum(inside, inside[::-1]))
        total[start:stop] += weights[-1]
    return [
        (w / total[start:stop]).astype(np.float32)
        for w, (start, stop) in zip(weights, along, strict=True)
    ]


def blend_shares(columns: list[Span], rows: list[Span]) -> Iterator[np.ndarray]:
    """Per tile in the order of `tile_boxes`: its weight over the sum of its own and earlier ones.

    With these, `mean += share * (tile - mean)` ends at the weighted mean of all tiles, exactly if
    they agree.

    Yields:
        (height, width) of the tile, float32.
    """
    earlier_rows = np.zeros(rows[-1][1], np.float32)
    for (top, bottom), down in zip(rows, blend_weights(rows), strict=True):
        earlier_columns = np.zeros(columns[-1][1], np.float32)
        for (left, right), across in zip(columns, blend_weights(columns), strict=True):
            own = np.outer(down, across)
            so_far = np.outer(down, earlier_columns[left:right])
            so_far += earlier_rows[top:bottom, None]
            so_far += own
            yield np.divide(own, so_far, out=own)
            earlier_columns[left:right] += across
        earlier_rows[top:bottom] += down


class Mosaic:
    """The scores of one image, combined tile by tile; takes 4 bytes per pixel and head.

    Attributes:
        size: (width, height) of the image.
        boxes: boxes of its tiles.
        scores: head -> maximum image score of the tiles so far.
        kinds: head -> `Scores.kind` of that tile, from heads that know kinds of defects.
        errors: head -> why the first tile without a score has none, from heads that say it.
        maps: head -> (height, width) anomaly map, complete after the last tile; the head's own (S,
            S) map if images are whole.
    """

    def __init__(self, size: tuple[int, int], tiling: Tiling = WHOLE):
        self.size = size
        self.tiling = tiling
        self.boxes = tiling.boxes(size)
        self.scores: dict[str, float] = {}
        self.kinds: dict[str, int] = {}
        self.errors: dict[str, str] = {}
        self.maps: dict[str, np.ndarray] = {}
        self._waiting = zip(self.boxes, self._shares(), strict=True)
        self._left = len(self.boxes)

    @property
    def complete(self) -> bool:
        """True if all tiles are added."""
        return not self._left

    def add(self, found: Mapping[str, Scores], place: int) -> None:
        """Add the next tile, in the order of `boxes`.

        Args:
            found: head -> scores of a batch, as numpy arrays; the same heads for every tile.
            place: position of the tile in the batch.
        """
        box, share = next(self._waiting)
        self._left -= 1
        for head, scores in found.items():
            score = float(scores.image_score[place])
            tile_map = np.asarray(scores.anomaly_map[place])
            if scores.kind is not None and not score <= self.scores.get(head, -np.inf):
                self.kinds[head] = int(scores.kind[place])
            if scores.errors and (why := scores.errors[place]):
                self.errors.setdefault(head, why)
            # unlike max, keeps NaN
            self.scores[head] = float(np.maximum(self.scores.get(head, score), score))
            if share is None:
                self.maps[head] = tile_map
            else:
                self._blend(head, box, tile_map, share)

    def _blend(self, head: str, box: Box, tile_map: np.ndarray, share: np.ndarray) -> None:
        left, top, right, bottom = box
        if head not in self.maps:
            self.maps[head] = np.zeros(self.size[::-1], np.float32)
        mean = self.maps[head][top:bottom, left:right]
        change = resize_map(tile_map, (right - left, bottom - top)) - mean
        mean += np.multiply(change, share, out=change)

    def _shares(self) -> Iterator[np.ndarray | None]:
        tile, overlap = self.tiling.tile, self.tiling.overlap
        if tile is None:
            return iter([None])
        return blend_shares(*(spans(length, tile, overlap) for length in self.size))


def stack_maps(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Maps of the same size as (B, H, W), others as an object array of B maps."""
    if len({found.shape for found in maps}) == 1:
        return np.stack(maps)
    stacked = np.empty(len(maps), object)
    stacked[:] = maps
    return stacked
