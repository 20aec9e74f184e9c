"""The boxes of a detector, from a COCO file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from vlad.errors import InputError
from vlad.system.text import counted, shown
from vlad.types import Box, Sample

SLACK = 1e-3  # pixels by which rounding may push an edge over that of the image
Boxes = Mapping[str, tuple[Box, ...]]  # file_name -> its boxes


def read_boxes(path: str | os.PathLike) -> dict[str, tuple[Box, ...]]:
    """file_name -> boxes, in the order of the file.

    Raises:
        InputError: the file cannot be read, is no such COCO file, or has a box outside its image;
            it names the entry.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); correct the path.") from None
    except ValueError as error:
        raise InputError(f"{path} is not a JSON file ({error}); give boxes as COCO.") from None
    entries = _Entries(path, content)
    names = {one["id"]: one["name"] for one in entries.of("categories", needed=False)}
    images: dict[Any, Any] = {}
    for image in entries.of("images"):
        entries.must(image["id"] not in images, "has an id that another one has")
        images[image["id"]] = image
    found: dict[str, list[Box]] = {image["file_name"]: [] for image in images.values()}
    if len(found) < len(images):
        raise InputError(f"{path}: two images have one file_name; remove one of them.")
    for one in entries.of("annotations"):
        entries.must(one["image_id"] in images, "is of an image_id that no image has")
        phrase = one.get("phrase") or names.get(one.get("category_id"))
        entries.must(phrase is not None, "has neither phrase nor the category_id of a category")
        image = images[one["image_id"]]
        left, top, width, height = one["bbox"]
        right, bottom = left + width, top + height
        inside = min(left, top) >= -SLACK and min(width, height) > 0
        inside &= right <= image["width"] + SLACK and bottom <= image["height"] + SLACK
        entries.must(inside, f"has the bbox {one['bbox']}, empty or outside its image")
        sides = (image["width"], image["height"]) * 2
        edges = (
            min(1.0, max(0.0, x / s))
            for x, s in zip((left, top, right, bottom), sides, strict=True)
        )
        a, b, c, d = edges
        found[image["file_name"]].append(Box((a, b, c, d), float(one["score"]), str(phrase)))
    return {name: tuple(boxes) for name, boxes in found.items()}


class _Entries:
    """Takes checked entries out of a COCO file, and complains of the one taken last."""

    def __init__(self, path: str | os.PathLike, content: object) -> None:
        self.path, self.where = path, "it"
        self.content = content if isinstance(content, dict) else {}

    def must(self, holds: object, fault: str) -> None:
        if not holds:
            raise InputError(f"{self.path}: {self.where} {fault}; correct it.")

    def of(self, key: str, needed: bool = True) -> Iterable[dict[str, Any]]:
        listed = self.content.get(key, None if needed else [])
        self.where = "the file"
        self.must(isinstance(listed, list), f"has no list {key!r}, as COCO files have")
        assert isinstance(listed, list)
        for place, one in enumerate(listed):
            self.where = f"{key}[{place}]"
            self.must(isinstance(one, dict), "is not an object")
            for name, fits in FIELDS[key].items():
                what = shown(repr(one.get(name)))
                self.must(fits(one.get(name)), f"has {name} {what}, which does not fit")
            yield one


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e9


def _key(value: object) -> bool:
    return isinstance(value, int | str)


def _text(value: object) -> bool:
    return isinstance(value, str) and value != ""


FIELDS = {
    "categories": {"id": _key, "name": _text},
    "images": {
        "id": _key,
        "file_name": _text,
        "width": lambda x: _number(x) and x > 0,
        "height": lambda x: _number(x) and x > 0,
    },
    "annotations": {
        "image_id": _key,
        "bbox": lambda x: isinstance(x, list) and len(x) == 4 and all(map(_number, x)),
        "score": lambda x: _number(x) and 0 <= x <= 1,
    },
}


def with_boxes(samples: Sequence[Sample], boxes: Boxes, file: str) -> list[Sample]:
    """The samples with the boxes of their images.

    A file_name names the image whose path it is or ends.

    Args:
        file: name of the file of the boxes, for errors.

    Raises:
        InputError: a file_name that names no image, or several.
    """
    ends: dict[tuple[str, ...], list[int]] = {}
    for place, sample in enumerate(samples):
        parts = Path(os.path.abspath(sample.path)).parts
        for start in range(len(parts)):
            ends.setdefault(parts[start:], []).append(place)
    given: dict[int, tuple[Box, ...]] = {}
    for name, found in boxes.items():
        places = ends.get(PurePath(name).parts, [])
        if len(places) != 1 or places[0] in given:
            which = "no image" if not places else counted(max(2, len(places)), "image")
            raise InputError(
                f"{file}: the file_name {shown(repr(name))} names {which} of those to score; "
                "remove it, or write more of its path."
            )
        given[places[0]] = found
    return [replace(s, boxes=given.get(place, ())) for place, s in enumerate(samples)]


class Boxed:
    """A labelled data set whose test images have the boxes of a detector.

    Args:
        data: as `vlad.datasets.load_dataset` opens it.
        boxes: path of an image -> its boxes.
    """

    def __init__(self, data: Any, boxes: Mapping[Path, tuple[Box, ...]]) -> None:
        self._data, self._boxes, self.categories = data, boxes, data.categories
        if hasattr(data, "aupro_limit"):  # validation images have no boxes, so they are left out
            self.aupro_limit = data.aupro_limit

    def train(self, category: str) -> list[Sample]:
        return self._data.train(category)

    def test(self, category: str) -> list[Sample]:
        return [
            replace(sample, boxes=self._boxes.get(sample.path, ()))
            for sample in self._data.test(category)
        ]


def boxed(sets: Mapping[str, Any], file: str) -> dict[str, Boxed]:
    """Data sets with the boxes of a file for their test images.

    Raises:
        InputError: as `read_boxes` and `with_boxes`, for the test images of all sets.
    """
    boxes = read_boxes(file)
    samples = [s for data in sets.values() for name in data.categories for s in data.test(name)]
    given = {sample.path: sample.boxes for sample in with_boxes(samples, boxes, file)}
    return {name: Boxed(data, given) for name, data in sets.items()}


def digest(file: str | os.PathLike) -> str:
    """What tells the boxes of a file from others, in the settings of a run."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
