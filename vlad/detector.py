"""One detector in scikit-learn's manners: a head, a backbone, and what they learned."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from inspect import signature
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from vlad.adapters import FILE as ADAPTER_FILE
from vlad.adapters import find_adapter, read_adapter, save_adapter
from vlad.backbones import DEFAULT, load_backbone
from vlad.backbones.backbone import Backbone
from vlad.calibration import FALSE_ALARMS, from_normals, load_calibration, save_calibration
from vlad.datasets import list_samples
from vlad.errors import HeadError, ImageError, InputError
from vlad.heads import Pool, load_head
from vlad.images import DEFAULT_MAX_PIXELS, as_image
from vlad.images.tiles import Mosaic, Tiling, stack_maps
from vlad.saved import read_settings
from vlad.scoring.panel import Panel
from vlad.system.files import atomic_write
from vlad.system.resources import check_regular
from vlad.system.text import shown
from vlad.types import Scores, Verdicts

_CALIBRATION = "calibration.json"


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image as its detector's backbone takes it.

    Attributes:
        size: (width, height), upright.
        tiles: the pixels of each tile; an image that is left whole is one. Those of an image
            that is cut take many times its memory, so each is made when it is come to.
    """

    size: tuple[int, int]
    tiles: Iterable[dict]


@dataclass(frozen=True, eq=False)
class _Cut:
    """An image whose tiles are prepared one by one."""

    panel: Panel
    image: Image.Image

    def __iter__(self) -> Iterator[dict]:
        return map(self.panel.prepare, self.panel.tiling.cut(self.image))


ImageLike = str | os.PathLike | Image.Image | np.ndarray | Prepared


class Detector:
    """Scores images with one head. Nothing is loaded before the first `fit` or `score`.

    Args:
        head: name of the head ("winclip", "memory", ...).
        backbone: backbone, by name, file or folder (see `vlad.backbones`).
        category: what the images show; needed by heads that read text.
        bank: prompt bank, by name or TOML file; None is the head's own.
        image_size: pixels a side of the backbone's input; None is the backbone's own.
        device, dtype: where and how precisely the backbone computes.
        runtime: what computes its vision passes (see `vlad.backbones.runtimes`).
        batch_size: images, or tiles, in one pass.
        max_pixels, bits: as in `vlad.images.read_image`.
        tile, overlap: large images are cut into tiles of so many pixels, which overlap by this
            fraction (see `vlad.images.tiles`); None leaves them whole.
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

    @property
    def backbone_(self) -> Backbone:
        """The backbone, loaded when it is first needed; detectors may be given that of another."""
        if not hasattr(self, "_backbone"):
            self._backbone = load_backbone(self.backbone, self.device, self.dtype, self.runtime)
        return self._backbone

    @backbone_.setter
    def backbone_(self, backbone: Backbone) -> None:
        self._backbone = backbone

    def fit(self, normals: ImageLike | Iterable[ImageLike]) -> Detector:
        """Learns from normal images: a folder, files, globs, PIL images or RGB arrays.

        A transductive head learns its reference pool instead, of any images, and scores each
        image against that from then on.

        Raises:
            InputError: no image, or one that cannot be used.
        """
        self._panel().fit((self._open(p) for p in _images(normals)), [self.head])
        return self

    def prepare(self, image: str | os.PathLike | Image.Image | np.ndarray) -> Prepared:
        """What `score` takes in place of an image; safe to call from several threads.

        Raises:
            ImageError: it cannot be used.
        """
        opened = self._open(image)
        tiles = _Cut(self._panel(), opened)
        whole = len(tiles.panel.tiling.boxes(opened.size)) == 1
        return Prepared(opened.size, list(tiles) if whole else tiles)

    def score(
        self, images: ImageLike | Iterable[ImageLike], *, category: str | None = None
    ) -> Scores:
        """Scores of B images as numpy arrays: `image_score` (B,), `anomaly_map` (B, S, S).

        One image is a batch of one. S is the side of the backbone's input. Of images cut into
        tiles, each map has the height and width of its image; where these differ, `anomaly_map`
        is an object array of B maps.

        Args:
            category: what they show; None is the detector's own.

        Raises:
            InputError: no image, one that cannot be used, or a tile or overlap out of its range.
            HeadError: a head that was not fitted, has no category to read about, or judges a list
                jointly and is given one image.
        """
        panel = self._panel()
        mosaics: list[Mosaic] = []

        def prepared() -> Iterator[dict]:
            for image in _images(images):
                if not isinstance(image, Prepared):
                    image = self.prepare(image)
                mosaics.append(Mosaic(image.size, panel.tiling))
                yield from image.tiles

        def parts() -> Iterator[Scores]:
            pools: dict[str, Pool] = {}
            tiles = prepared()
            while batch := list(islice(tiles, self.batch_size)):
                yield from panel.score(batch, category or self.category, pools).values()
            for pool in pools.values():
                yield from pool.scores()

        # both come tile by tile in the same order, the images always ahead of their scores
        owners = (mosaic for mosaic in mosaics for _ in mosaic.boxes)
        for part in parts():
            found = {self.head: part.numpy()}
            for place in range(len(part)):
                next(owners).add(found, place)
        return Scores(
            np.array([mosaic.scores[self.head] for mosaic in mosaics], np.float32),
            stack_maps([mosaic.maps[self.head] for mosaic in mosaics]),
        )

    def calibrate(
        self,
        normals: ImageLike | Iterable[ImageLike],
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

    def predict(self, images: ImageLike | Iterable[ImageLike]) -> Verdicts:
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
        memory = self.head_.memory_ if hasattr(self, "head_") else {}
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

    def _open(self, image: ImageLike) -> Image.Image:
        if isinstance(image, Prepared):
            raise ImageError("a prepared image is only for `score`; give the image itself.")
        return as_image(image, max_pixels=self.max_pixels, bits=self.bits)

    def _panel(self) -> Panel:
        if not hasattr(self, "_loaded"):
            if not hasattr(self, "head_"):
                self.head_ = load_head(self.head, **(self.head_params or {}))
            self.head_.to(self.backbone_.device)
            self._loaded = Panel(
                self.backbone_,
                {self.head: self.head_},
                bank=self.bank,
                image_size=self.image_size,
                batch_size=self.batch_size,
                tiling=Tiling(self.tile, self.overlap),
            )
        return self._loaded


def load(head: str = "memory", **options) -> Detector:
    """A detector by the name of its head; `options` are those of `Detector` and of the head.

    >>> vlad.load("memory", backbone="vlad-tiny").fit("normals/").score("photo.png")
    """
    own = {k: options.pop(k) for k in list(options) if k in signature(Detector).parameters}
    params = {**(own.pop("head_params", None) or {}), **options}
    return Detector(head, **own, head_params=params or None)


def _images(given: ImageLike | Iterable[ImageLike]) -> Iterable[ImageLike]:
    """One image, a folder or a glob as the list of what it stands for."""
    if isinstance(given, Iterator):
        return given  # opened one by one, so that they need not all be held
    if isinstance(given, ImageLike):
        given = [given]
    images: list[ImageLike] = []
    for item in given:
        if isinstance(item, str | os.PathLike):
            images += [sample.path for sample in list_samples([item])]
        else:
            images.append(item)
    if not images:
        raise InputError("`images` is empty; give files, folders, patterns or images.")
    return images
