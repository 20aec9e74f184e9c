"""Auxiliary data: labelled sets and normal images with drawn defects, mixed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from vlad.images import DEFAULT_MAX_PIXELS, read_image, read_mask
from vlad.synthetic import SyntheticSet
from vlad.types import Sample


@dataclass(frozen=True)
class Item:
    """One training image.

    Attributes:
        image: RGB.
        mask: (H, W) bool in the image's proportions, or None if only the label is known.
        label: 1 anomalous, 0 normal.
    """

    image: Image.Image
    mask: np.ndarray | None
    label: int


class Source(Protocol):
    """A set of images with a weight, the number of times an epoch sees each of them."""

    @property
    def name(self) -> str: ...

    @property
    def weight(self) -> float: ...

    @property
    def samples(self) -> Sequence[Sample]: ...

    @property
    def digests(self) -> Sequence[str]: ...

    def key(self, index: int) -> str | None:
        """A key for an item that is the same in every epoch, else None."""

    def item(self, index: int, epoch: int) -> Item:
        """The item; the same for the same arguments.

        Raises:
            ImageError: the image can no longer be read.
        """


@dataclass(frozen=True)
class Reading:
    """Options for reading image files, as in `vlad.images.read_image`."""

    max_pixels: int = DEFAULT_MAX_PIXELS
    bits: int = 16

    def open(self, path: Path) -> Image.Image:
        return read_image(path, max_pixels=self.max_pixels, bits=self.bits)

    def mask(self, file: Path) -> np.ndarray:
        return read_mask(file, max_pixels=self.max_pixels)


PLAIN = Reading()


@dataclass(frozen=True)
class Labelled:
    """Images with labels and optional masks; a normal image is normal everywhere."""

    name: str
    samples: Sequence[Sample]
    digests: Sequence[str]
    weight: float = 1.0
    reading: Reading = PLAIN

    def key(self, index: int) -> str | None:
        return self.digests[index]

    def item(self, index: int, epoch: int) -> Item:
        sample = self.samples[index]
        image = self.reading.open(sample.path)
        mask = np.zeros(image.size[::-1], bool) if sample.label == 0 else None
        if sample.label and sample.mask is not None:
            mask = self.reading.mask(sample.mask)
        return Item(image, mask, int(bool(sample.label)))


@dataclass(frozen=True)
class Synthetic:
    """Normal images, some with drawn defects that change every epoch.

    Attributes:
        drawn: the set that draws them; its `item(index, epoch)` has image, mask and label.
    """

    name: str
    samples: Sequence[Sample]
    digests: Sequence[str]
    drawn: SyntheticSet
    weight: float = 1.0

    def key(self, index: int) -> str | None:
        return None

    def item(self, index: int, epoch: int) -> Item:
        found = self.drawn.item(index, epoch)
        return Item(found.image, found.mask, found.label)


@dataclass(frozen=True)
class Data:
    """The data of a training.

    Attributes:
        sources: the images to learn from.
        held_out: category -> images held out to choose the best epoch.
        left_out: path -> reason why an image is not used.
        normals: for each source the normal images that its images are paired with; empty for a head
            that learns without pairs.
        beside: the same for each held-out category.
    """

    sources: Sequence[Source]
    held_out: Mapping[str, Sequence[Sample]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    normals: Sequence[Labelled] = ()
    beside: Mapping[str, Sequence[Sample]] = field(default_factory=dict)

    @property
    def categories(self) -> list[str]:
        """Names of the training categories, sorted."""
        samples = (sample for source in self.sources for sample in source.samples)
        return sorted({sample.category or "" for sample in samples})

    @property
    def auxiliary(self) -> str:
        """The names of the sets, to state beside the adapter's figures."""
        return " + ".join(source.name for source in self.sources)

    def card(self) -> dict[str, dict]:
        """Set -> its entry in a card."""
        found = {source.name: _described(source) for source in self.sources}
        for normal in self.normals:
            found[normal.name]["paired with"] = {
                "normal": len(normal.samples),
                "sha256": _digest_of_all(normal),
            }
        return found


def _described(source: Source) -> dict:
    labels = [sample.label for sample in source.samples]
    return {
        "kind": "drawn defects" if isinstance(source, Synthetic) else "labelled",
        "weight": source.weight,
        "categories": sorted({sample.category for sample in source.samples}),
        "normal": labels.count(0),
        "anomalous": labels.count(1),
        "masks": sum(bool(s.label) and s.mask is not None for s in source.samples),
        "sha256": _digest_of_all(source),
    }


def _digest_of_all(source: Source) -> str:
    """SHA-256 of "category/id sha256" of every image and its mask, sorted."""
    listed = [f"{s.id} {digest}" for s, digest in zip(source.samples, source.digests, strict=True)]
    return hashlib.sha256("\n".join(sorted(listed)).encode()).hexdigest()
