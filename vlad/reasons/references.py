"""Reference images by their place in a fit: names, and crops if the files are still the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from PIL import Image, ImageDraw

from vlad.errors import VladError
from vlad.images.normals import Views
from vlad.images.resize import fit_within
from vlad.scoring.record import digest_of
from vlad.types.reasons import NearestPatch

Learned = tuple[str, str]  # name and digest of a reference image
LEAST = 5  # cells, at least, that a crop shows
LARGEST = 256  # pixels of a crop's longer side, at most
MARK = (255, 0, 96)  # colour of the frame around a patch


@dataclass(eq=False, repr=False)
class References:
    """The reference images of a head.

    Args:
        learned: name and digest of each in the order of `fit`; None if that is not known.
        open_image: path -> RGB image.
        views: of each reference image, as the head got them.
        grid: (h, w) patches of each.
    """

    learned: Sequence[Learned] | None
    open_image: Callable[[str], Image.Image]
    views: Views
    grid: tuple[int, int]
    _opened: dict[tuple[int, int], Image.Image | str] = field(default_factory=dict, init=False)

    def name(self, nearest: NearestPatch) -> str:
        """The name of the image of a patch; "" if it is not known."""
        if nearest.image is None or not self.learned or nearest.image >= len(self.learned):
            return ""
        return self.learned[nearest.image][0]

    def at(self, cell: tuple[int, int]) -> tuple[float, float]:
        """(x, y) of the middle of a cell, in fractions of the sides."""
        return (cell[1] + 0.5) / self.grid[1], (cell[0] + 0.5) / self.grid[0]

    def crops(
        self, image: Image.Image, box: tuple[float, float, float, float], nearest: NearestPatch
    ) -> tuple[Image.Image, Image.Image | None, str]:
        """The patch of a region and the nearest reference patch, both with what is around them.

        Args:
            box: of the region, in pixels of the image.

        Returns:
            the crop of the image, that of the reference image or None, and why it is None or "".
        """
        extent = max(box[2] / image.width, box[3] / image.height, LEAST / min(self.grid))
        part = min(extent, 0.5)
        crop = self._crop(image, nearest.patch, part)
        if nearest.cell is None:
            return crop, None, nearest.note
        if nearest.image is None:
            return crop, self._crop(image, nearest.cell, part), ""
        other = self._reference(nearest.image, nearest.view or 0)
        if isinstance(other, str):
            return crop, None, other
        return crop, self._crop(other, nearest.cell, part), ""

    def _reference(self, place: int, view: int) -> Image.Image | str:
        """A view of a reference image, opened once, or why it cannot be shown."""
        if (place, view) not in self._opened:
            self._opened = {(place, view): self._open(place, view)}  # one at a time
        return self._opened[place, view]

    def _open(self, place: int, view: int) -> Image.Image | str:
        if not self.learned or place >= len(self.learned):
            return "The names of the reference images are not known, so none is shown."
        name, digest = self.learned[place]
        if not os.path.isfile(name):
            return f"The reference image {name} is no file here, so it is not shown."
        try:
            if digest_of(name) != digest:
                return f"The file {name} changed since the fit, so it is not shown."
            image = self.open_image(name)
        except (VladError, OSError) as error:
            return f"The reference image {name} is not shown: {error}"
        return next(islice(self.views(image), view, None))

    def _crop(self, image: Image.Image, cell: tuple[int, int], part: float) -> Image.Image:
        """A part of both sides around a cell, inside the image, with a frame around the cell."""
        edges = []
        for middle, side in zip(self.at(cell), image.size, strict=True):
            length = max(1, round(part * side))
            start = min(max(0, round(middle * side - length / 2)), side - length)
            edges.append((start, start + length))
        (left, right), (top, bottom) = edges
        crop = image.crop((left, top, right, bottom))
        small = fit_within(crop.size, LARGEST)
        scale = small[0] / crop.width
        crop = crop.resize(small)
        x, y = cell[1] * image.width / self.grid[1], cell[0] * image.height / self.grid[0]
        width, height = image.width / self.grid[1], image.height / self.grid[0]
        frame = [x - left, y - top, x - left + width, y - top + height]
        thick = max(1, max(crop.size) // 60)  # seen on a page, yet not over the patch
        ImageDraw.Draw(crop).rectangle([round(scale * v) for v in frame], None, MARK, thick)
        return crop
