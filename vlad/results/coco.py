"""Regions of the images of a run: columns of scores.csv, and COCO files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlad.errors import InputError
from vlad.results.regions import Region, find_regions
from vlad.system.files import atomic_write
from vlad.system.resources import read_json
from vlad.system.text import encode, printable, shown
from vlad.types import Sample

ANOMALY = "anomaly"  # the category of a region of no known kind


class RegionFinder:
    """Finds the regions of each image and head, map by map.

    Args:
        thresholds: head -> the value above which a pixel belongs to a region.
        min_area: smallest area of a region, in mm² with `mm_per_pixel`, else in square pixels.
        mm_per_pixel: the side of a pixel of the images, or None.

    Attributes:
        regions: head -> path -> regions, highest score first.
        sizes: path -> (width, height) of the image.
    """

    def __init__(
        self,
        thresholds: Mapping[str, float],
        min_area: float = 0.0,
        mm_per_pixel: float | None = None,
    ):
        self.thresholds = dict(thresholds)
        self.min_area = min_area
        self.mm_per_pixel = mm_per_pixel
        self.regions: dict[str, dict[str, list[Region]]] = {head: {} for head in thresholds}
        self.sizes: dict[str, tuple[int, int]] = {}

    @property
    def _square(self) -> float:
        return (self.mm_per_pixel or 1.0) ** 2

    def add(self, sample: Sample, size: tuple[int, int], maps: Mapping[str, np.ndarray]) -> None:
        """Add the maps of an image of (width, height) pixels."""
        path = str(sample.path)
        self.sizes[path] = size
        for head in self.thresholds.keys() & maps.keys():
            self.regions[head][path] = find_regions(
                maps[head], self.thresholds[head], size, self.min_area / self._square
            )

    def columns(self) -> dict[str, dict[str, object]]:
        """Number and total area of the regions: name of the column -> path -> value."""
        unit = "mm2" if self.mm_per_pixel else "px"
        columns: dict[str, dict[str, object]] = {}
        for head, found in self.regions.items():
            columns[f"{head}_regions"] = {path: len(regions) for path, regions in found.items()}
            columns[f"{head}_area_{unit}"] = {
                path: round(float(sum(r.area for r in regions)) * self._square, 6)
                for path, regions in found.items()
            }
        return columns

    def write(self, folder: Path) -> None:
        """Write a COCO file for each head.

        Raises:
            OutputError: a file cannot be written.
        """
        for head, found in self.regions.items():
            text = json.dumps(self._coco(head, found)) + "\n"
            atomic_write(folder / f"{head}.json", encode(text))

    def _coco(self, head: str, found: Mapping[str, Sequence[Region]]) -> dict:
        images, annotations = [], []
        for number, (path, regions) in enumerate(found.items(), start=1):
            width, height = self.sizes[path]
            images.append(
                {"id": number, "file_name": printable(path), "width": width, "height": height}
            )
            annotations += [self._annotation(number, region) for region in regions]
        for number, one in enumerate(annotations, start=1):
            one["id"] = number
        return {
            "info": {
                "description": f"Regions of the anomaly maps of {head} above a threshold",
                "threshold": self.thresholds[head],
            },
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 1, "name": ANOMALY, "supercategory": ANOMALY}],
        }

    def _annotation(self, image: int, region: Region) -> dict:
        found = annotation(image, 1, region)
        if self.mm_per_pixel:
            found["area_mm2"] = region.area * self._square
        return found


def annotation(image: int, category: int, region: Region) -> dict[str, Any]:
    """A region as COCO has it, with its score, but without an id."""
    outlines = [[value for point in outline for value in point] for outline in region.outlines]
    return {
        "image_id": image,
        "category_id": category,
        "bbox": list(region.box),
        "area": region.area,
        "segmentation": outlines,
        "iscrowd": 0,
        "score": region.score,
    }


def read_regions(file: Path) -> dict[str, tuple[tuple[int, int], list[Region]]]:
    """Read a file of `RegionFinder.write`.

    Returns:
        path, printable -> (width, height) of the image and its regions, highest score first.

    Raises:
        InputError: it is missing or damaged.
    """
    found: dict[str, tuple[tuple[int, int], list[Region]]] = {}
    try:
        content = read_json(file)
        paths = {image["id"]: image["file_name"] for image in content["images"]}
        for image in content["images"]:
            found[image["file_name"]] = ((int(image["width"]), int(image["height"])), [])
        for note in content["annotations"]:
            outlines = [
                list(zip(corners[::2], corners[1::2], strict=True))
                for corners in note["segmentation"]
            ]
            x, y, width, height = note["bbox"]
            region = Region(note["area"], (x, y, width, height), outlines, note["score"])
            found[paths[note["image_id"]]][1].append(region)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"cannot read the regions in {file} ({shown(error)}); remove it and `resume` the run "
            "that made it."
        ) from error
    return found
