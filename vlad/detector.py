"""One detector in scikit-learn's manners: a head, a backbone, and what they learned."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from heapq import merge
from inspect import signature
from itertools import chain, islice
from pathlib import Path
from threading import Lock
from typing import cast

import numpy as np
from PIL import Image

from vlad.adapters import FILE as ADAPTER_FILE
from vlad.adapters import find_adapter, read_adapter, save_adapter
from vlad.backbones import DEFAULT
from vlad.backbones.backbone import Backbone
from vlad.calibration import FALSE_ALARMS, from_normals, load_calibration, save_calibration
from vlad.datasets import list_samples
from vlad.errors import HeadError, ImageError, InputError
from vlad.heads import load_head
from vlad.images import DEFAULT_MAX_PIXELS, ImageLike, as_image, is_image
from vlad.images.tiles import stack_maps
from vlad.report.scores import ImageScores
from vlad.saved import read_settings
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import Pools, Prepared, Scored, prepare, score_items
from vlad.scoring.setup import Setup
from vlad.system.files import atomic_write
from vlad.system.resources import check_regular
from vlad.system.text import shown
from vlad.types import Scores, Verdicts

_CALIBRATION = "calibration.json"

# one image, or many: each, a batch (B, ...), or a file name, which may be a folder or a pattern
Images = ImageLike | Prepared | Iterable[ImageLike | Prepared]
# Pillow decodes an image that was opened only when it is used, and not in two threads at once
_DECODING = Lock()


@dataclass(frozen=True)
class ScoredImage:
    """What `Detector.stream` says of one image.

    Attributes:
        image: as it was given.
        index: its place among those given, from 0.
        size: its (width, height), upright; None where it could not be read.
        image_score: higher is more anomalous; None with an error.
        anomaly_map: (S, S), or (height, width) of an image cut into tiles; None with an error.
        error: why it could not be scored, in one sentence, or None.
    """

    image: ImageLike | Prepared
    index: int
    size: tuple[int, int] | None = None
    image_score: float | None = None
    anomaly_map: np.ndarray | None = None
    error: str | None = None


@dataclass(frozen=True, eq=False)
class _Given:
    """One of the images given, as the pipeline takes it."""

    image: ImageLike | Prepared
    index: int
    category: str | None

    @property
    def path(self) -> str:
        """What errors call it."""
        named = isinstance(self.image, str | os.PathLike)
        return os.fspath(self.image) if named else f"image {self.index}"


class Detector:
    """Scores images with one head. Nothing is loaded before the first `fit` or `score`.

    Args:
        head: name of the head ("winclip", "memory", ...).
        category: what the images show; needed by heads that read text.
        backbone, bank, image_size, device, dtype, runtime, batch_size, max_pixels, bits, tile,
            overlap: how images are read and scored (see `vlad.scoring.setup.Setup`).
        head_params: arguments of the head.

    Attributes:
        head_: the head with what it learned.
        calibration_: what its scores mean, once calibrated.
    """

    def __init__(
        self,
        head: str = "memory",
        *,
        backbone: str = DEFAULT,
        category: str | None = None,
        bank: str | None = None,
        image_size: int | None = None,
        device: str = "auto",
        dtype: str = "float32",
        runtime: str = "torch",
        batch_size: int = 8,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        bits: int = 16,
        tile: int | None = None,
        overlap: float = 0.25,
        head_params: Mapping | None = None,
    ):
        self.head = head
        self.backbone = backbone
        self.category = category
        self.bank = bank
        self.image_size = image_size
        self.device = device
        self.dtype = dtype
        self.runtime = runtime
        self.batch_size = batch_size
        self.max_pixels = max_pixels
        self.bits = bits
        self.tile = tile
        self.overlap = overlap
        self.head_params = head_params
        _ = self.setup  # values out of their range are refused at once

    @property
    def setup(self) -> Setup:
        """How images are read and scored, of all these arguments."""
        return Setup(**{field.name: getattr(self, field.name) for field in fields(Setup)})

    @property
    def backbone_(self) -> Backbone:
        """The backbone, loaded when it is first needed; detectors may be given that of another."""
        if not hasattr(self, "_backbone"):
            self._backbone = self.setup.load_backbone()
        return self._backbone

    @backbone_.setter
    def backbone_(self, backbone: Backbone) -> None:
        self._backbone = backbone

    def fit(self, normals: Images) -> Detector:
        """Learns from normal images: a folder, files, globs, PIL images or RGB arrays.

        A transductive head learns its reference pool instead, of any images, and scores each
        image against that from then on.

        Raises:
            InputError: no image, or one that cannot be used.
        """
        self._panel().fit((self._open(p) for p in _images(normals)), [self.head])
        return self

    def prepare(self, image: ImageLike) -> Prepared:
        """What `score` and `stream` take in place of an image; safe in several threads.

        Raises:
            ImageError: it cannot be used.
        """
        return prepare(self._panel(), self._open(image))

    def score(self, images: Images, *, category: str | None = None) -> ImageScores:
        """Scores of B images as numpy arrays: `image_score` (B,), `anomaly_map` (B, S, S).

        One image is a batch of one. S is the side of the backbone's input. If images are cut into
        tiles, each map has the height and width of its image; where these differ, `anomaly_map`
        is an object array of B maps.

        Args:
            category: what they show; None is the detector's own.

        Raises:
            InputError: no image, or a tile or overlap out of its range.
            ImageError: one that cannot be used; `stream` goes on with the others.
            HeadError: a head that was not fitted, has no category to read about, or judges a list
                jointly and is given one image.
        """
        scores, maps = [], []
        for scored in self._stream(images, category):
            if scored.failure is not None:
                raise scored.failure
            scores.append(scored.scores[self.head])
            maps.append(scored.maps[self.head])
        return ImageScores(np.array(scores, np.float32), stack_maps(maps))

    def stream(self, images: Images, *, category: str | None = None) -> Iterator[ScoredImage]:
        """Score images one after the other, in order, in constant memory.

        One that cannot be used comes with its error, and the others go on. A head that judges a
        list jointly says nothing before it has seen all.

        Args:
            images: as in `score`; an iterator is read as far ahead as two batches.
            category: what they show; None is the detector's own.

        Raises:
            InputError: no image.
            HeadError: a head that was not fitted, or has no category to read about.
        """
        for scored in self._stream(images, category):
            given = scored.sample
            yield ScoredImage(
                given.image,
                given.index,
                scored.size,
                scored.scores.get(self.head),
                scored.maps.get(self.head),
                scored.error,
            )

    def _stream(self, images: Images, category: str | None) -> Iterator[Scored[_Given]]:
        panel, about = self._panel(), category or self.category
        items = (_Given(image, index, about) for index, image in enumerate(_images(images)))
        pools: Pools[_Given] = Pools(panel.tiling)
        scored = chain.from_iterable(
            score_items(
                panel,
                items,
                batch_size=self.batch_size,
                open_item=self._open_given,
                pools=pools,
            )
        )
        if not panel.transductive:
            yield from scored
            return
        failed = [one for one in scored if one.failure is not None]
        joint = chain.from_iterable(pools.scores())
        yield from merge(failed, joint, key=lambda one: one.sample.index)

    def calibrate(
        self,
        normals: Images,
        false_alarms: float = FALSE_ALARMS,
        confidence: float | None = None,
    ) -> Detector:
        """Finds the threshold from normal images that `fit` was not shown.

        Args:
            false_alarms: the share of normal images that may be called anomalous.
            confidence: `predict` abstains from decisions less certain than this; None from none.

        Raises:
            InputError: too few images for that share, or one that cannot be used.
            HeadError: as `score`, or a head that judges a list jointly.
        """
        if self._panel().transductive:
            raise HeadError(
                f"Head {self.head} judges a list of images jointly, so there is no threshold for "
                "others; fit it on a reference pool first."
            )
        scores = self.score(normals)
        self.calibration_ = from_normals(
            {self.head: np.asarray(scores.image_score)},
            {self.head: np.array([found.max() for found in scores.anomaly_map])},
            false_alarms=false_alarms,
            confidence=confidence,
        )
        return self

    def predict(self, images: Images) -> Verdicts:
        """Verdicts of B images.

        Raises:
            InputError: `calibrate` was not called, no image, or one that cannot be used.
            HeadError: as `score`.
        """
        return self._decide(self.score(images))

    def _decide(self, scores: Scores) -> Verdicts:
        if not hasattr(self, "calibration_"):
            raise InputError(
                "there is no threshold to decide by; call `calibrate` with normal images first."
            )
        return self.calibration_.decide({self.head: np.asarray(scores.image_score)})[self.head]

    def __call__(self, batch: Mapping) -> dict:
        """Adds `image_score` and `anomaly_map` to a batch with "image" or "path" (map_batches).

        A calibrated detector adds `p_value`, `anomalous`, `abstain` and `severity` as well.
        """
        scores = self.score(list(batch["image"] if "image" in batch else batch["path"]))
        decided = vars(self._decide(scores)) if hasattr(self, "calibration_") else {}
        return {**batch, **decided, **vars(scores)}

    def save(self, folder: str | os.PathLike) -> Path:
        """Writes detector.json, calibration, adapter and what was learned, as data; never pickles.

        Raises:
            AdapterError: the adapter is not there any more.
            OutputError: the folder cannot be written to.
        """
        from safetensors.torch import save

        folder = Path(folder)
        memory = getattr(getattr(self, "head_", None), "memory_", {})
        tensors = {name: x.contiguous().cpu() for name, x in memory.items()}
        settings = {k: v for k, v in vars(self).items() if not k.endswith("_") and k[0] != "_"}
        params = self.head_params or {}
        if adapter := params.get("adapter"):
            save_adapter(read_adapter(find_adapter(adapter)), folder)
            settings["head_params"] = {**params, "adapter": ADAPTER_FILE}
        text = json.dumps(settings, indent=1, default=os.fspath)
        atomic_write(folder / "memory.safetensors", save(tensors))
        (folder / _CALIBRATION).unlink(missing_ok=True)  # of what was saved there before
        if hasattr(self, "calibration_"):
            save_calibration(self.calibration_, folder / _CALIBRATION)
        atomic_write(folder / "detector.json", text.encode())
        return folder

    @classmethod
    def load(cls, folder: str | os.PathLike) -> Detector:
        """The detector that `save` wrote.

        Raises:
            InputError: the folder holds none.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = Path(folder)
        try:
            detector = cls(**read_settings(folder))
            check_regular(folder / "memory.safetensors")
            memory = load_file(folder / "memory.safetensors")
            if not all(x.is_floating_point() and x.isfinite().all() for x in memory.values()):
                raise ValueError("what it remembers holds what is no number")
        except (OSError, ValueError, TypeError, SafetensorError) as error:
            raise InputError(
                f"{folder} holds no saved detector ({shown(error)}); save one first."
            ) from error
        detector.head_ = load_head(detector.head, **(detector.head_params or {}))
        if memory:
            detector.head_.memory_ = memory
        if (folder / _CALIBRATION).exists():
            detector.calibration_ = load_calibration(folder / _CALIBRATION)
            if set(detector.calibration_.reference) != {detector.head}:
                raise InputError(
                    f"the calibration in {folder} is not of head {detector.head}; calibrate anew."
                )
        return detector

    def __getstate__(self) -> dict:
        # the backbone is loaded again where the detector arrives
        return {k: v for k, v in vars(self).items() if k not in ("_loaded", "_backbone")}

    def _open_given(self, given: _Given) -> Image.Image | Prepared:
        image = given.image
        return image if isinstance(image, Prepared) else self._open(image)

    def _open(self, image: ImageLike | Prepared) -> Image.Image:
        if isinstance(image, Prepared):
            raise ImageError("a prepared image can only be scored; give the image itself.")
        if isinstance(image, str | os.PathLike):
            return self.setup.open_image(image)
        with _DECODING:
            return as_image(image, max_pixels=self.max_pixels, bits=self.bits)

    def _panel(self) -> Panel:
        if not hasattr(self, "_loaded"):
            if not hasattr(self, "head_"):
                self.head_ = load_head(self.head, **(self.head_params or {}))
            memory = getattr(self.head_, "memory_", {})
            memory.update({name: x.to(self.backbone_.device) for name, x in memory.items()})
            self._loaded = self.setup.panel(self.backbone_, {self.head: self.head_})
        return self._loaded


def load(head: str = "memory", **options) -> Detector:
    """A detector by the name of its head; `options` are those of `Detector` and of the head.

    >>> vlad.load("memory", backbone="vlad-tiny").fit("normals/").score("photo.png")
    """
    own = {k: options.pop(k) for k in list(options) if k in signature(Detector).parameters}
    params = {**(own.pop("head_params", None) or {}), **options}
    return Detector(head, **own, head_params=params or None)


def _images(given: Images) -> Iterable[ImageLike | Prepared]:
    """The images one by one, of folders, patterns and batches too."""
    found = _each(given)
    first = list(islice(found, 1))
    if not first:
        raise InputError("`images` is empty; give files, folders, patterns or images.")
    # those of an iterator are opened one by one, so that they need not all be held
    return chain(first, found) if isinstance(given, Iterator) else [*first, *found]


def _each(given: Images) -> Iterator[ImageLike | Prepared]:
    for item in given if isinstance(given, Iterable) and not is_image(given) else [given]:
        if isinstance(item, str | os.PathLike):
            yield from (sample.path for sample in list_samples([item]))
        elif getattr(item, "ndim", 0) == 4:
            yield from cast(Iterable[ImageLike], item)  # a batch
        else:
            yield item
