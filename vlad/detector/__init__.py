"""A detector with scikit-learn's interface: a head, a backbone, and what they learned."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from inspect import signature
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image

from vlad.backbones.backbone import Backbone
from vlad.calibration import FALSE_ALARMS, from_normals
from vlad.calibration.copies import count_others, find_copies, keep_others
from vlad.datasets.known import list_known
from vlad.detector.arguments import Arguments
from vlad.detector.loaded import Loaded
from vlad.detector.saved import Saved, read_detector, write_detector
from vlad.errors import HeadError, InputError
from vlad.heads import Head, head_maker, load_head
from vlad.heads.removal import without
from vlad.images import ImageLike
from vlad.images.tiles import stack_maps
from vlad.report.scores import ImageScores
from vlad.results.shared import shared_settings
from vlad.scoring.boxes import check_given
from vlad.scoring.given import (
    Given,
    Images,
    Marking,
    ScoredImage,
    each_image,
    open_given,
    score_given,
    unprepared,
)
from vlad.scoring.known import fit_known
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import Prepared, Scored, prepare
from vlad.scoring.record import digests, digests_of_known, record_of
from vlad.system.text import instead, shown
from vlad.types import Box, Features, Verdicts

# settings that the result of `fit` depends on, and those that a threshold also depends on
_FIT = (
    *("head", "head_params", "backbone", "image_size", "tile", "overlap", "bits"),
    *("guide", "ignore", "directions"),
)
_CALIBRATE = (*_FIT, "bank", "category", "dtype", "roi", "roi_ignore")

_Open = Callable[[Given], Image.Image | Prepared]


class Detector(Arguments):
    """Scores images with one head. Nothing is loaded before the first `fit` or `score`.

    It follows scikit-learn: arguments are attributes of the same name, `sklearn.base.clone` copies
    them without what was learned, and `fit` replaces what was learned before. Arguments may be set
    later; if what was learned depends on them, `fit` or `calibrate` must be called again.

    Args:
        head: name of the head ("winclip", "memory", ...), or a head, whose copy is fit.
        category: what the images show; needed by heads that read text. backbone, bank, image_size,
            device, dtype, runtime, batch_size, max_pixels, bits, tile, overlap, cache, guide,
            ignore, directions, roi, roi_ignore: settings for reading and scoring (see
            `vlad.scoring.setup.Setup`).
        head_params: arguments of the head, if it is given by name.

    Attributes:
        head_: the head with what it learned.
        learned_: name -> digest of the images that it learned from; images in memory are named by
            their position.
        calibration_: its calibration, once calibrated.

    Raises:
        InputError: a number out of range.
    """

    _marks: Sequence[np.ndarray] = ()  # of the learned images (`vlad.calibration.copies`)
    learned_: Mapping[str, str] = MappingProxyType({})

    @cached_property
    def _loaded(self) -> Loaded:
        return Loaded()

    @property
    def backbone_(self) -> Backbone:
        """The backbone, loaded on first use; it may be set to that of another detector."""
        return self._loaded.backbone(self.setup, self._known_head)

    @backbone_.setter
    def backbone_(self, backbone: Backbone) -> None:
        self._loaded.use(self.setup, backbone)

    @property
    def weights_(self) -> str | None:
        """Hash of the backbone's numbers; None if it was never loaded."""
        return self._loaded.weights(self.setup)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fit_with")

    def fit(
        self, normals: Images, *, known_defects: str | os.PathLike[str] | None = None
    ) -> Detector:
        """Learn from normal images, replacing all that was learned before; return itself.

        A transductive head learns a reference pool of any images instead, and scores each image
        against it from then on.

        Args:
            normals: a folder, files, patterns, or images that `vlad.images.as_image` accepts.
            known_defects: folder of marked defects for the head labelled, as
                `vlad.datasets.known.list_known` reads it.

        Raises:
            InputError: no image, one that cannot be used, or a mask that matches no image.
            HeadError: an unknown head or parameter, or a head that learns nothing from images, or
                nothing from known defects.
        """
        known = None if known_defects is None else list_known(known_defects)
        for name in ("head_", "calibration_", "_fit_with", "_calibrate_with"):
            vars(self).pop(name, None)
        self._loaded.drop_panel()
        self._marks, self.learned_ = (), {}
        self._learn(normals)
        if known is not None:
            fit_known(self.panel_, known, self.setup.open_image)
            marked = {f"{name} (marked)": own for name, own in digests_of_known(known).items()}
            self.learned_ = {**self.learned_, **digests(known), **marked}
        self._fit_with = self._settings(_FIT)
        return self

    def partial_fit(self, normals: Images) -> Detector:
        """Add normal images to those learned; return itself.

        The result equals one `fit` on all images. With a coreset, it is the union of the coresets
        of each call's images. A calibration is dropped, since its threshold was for fewer images.

        Raises:
            InputError: as `fit`.
            HeadError: as `fit`, or a head that needs all images at once.
        """
        _ = self.panel_  # makes the head
        if not self.head_.fitted:
            return self.fit(normals)
        if not self.head_.additive:
            raise HeadError(
                f"Head {self._name} cannot add to what it learned; call `fit` with all images."
            )
        before = self.head_.memory_
        self._learn(normals)
        added = self.head_.memory_
        self.head_.memory_ = self.head_.merge(before, added)
        self._fit_with = self._settings(_FIT)
        for name in ("calibration_", "_calibrate_with"):
            vars(self).pop(name, None)
        return self

    def remove(self, places: Iterable[int]) -> Detector:
        """Take normal images out of those learned; return itself.

        The result equals one `fit` on the other images. A calibration is dropped, with a warning,
        since its threshold was for more images.

        Args:
            places: of the images to remove, from 0 in the order in which they were given.

        Raises:
            HeadError: the head is not fitted or does not keep images apart, or images are cut into
                tiles.
            InputError: a place that does not exist, no place, or all of them.
        """
        if self.panel_.tiling.tile is not None:
            raise HeadError(
                "Tiles of several images cannot be told apart; call `fit` with the images to keep."
            )
        removed = set(places)
        self.head_.memory_ = without(self.head_, len(self._marks), removed)
        if len(self.learned_) == len(self._marks):  # else one was shown twice, and may be left
            named = enumerate(self.learned_.items())
            self.learned_ = dict(x for place, x in named if place not in removed)
        self._marks = [x for place, x in enumerate(self._marks) if place not in removed]
        if hasattr(self, "calibration_"):
            warnings.warn(
                "The threshold was set with the removed images among those learned and is dropped; "
                "call `calibrate` again.",
                stacklevel=2,
            )
        for name in ("calibration_", "_calibrate_with"):
            vars(self).pop(name, None)
        return self

    def prepare(self, image: ImageLike) -> Prepared:
        """Prepare an image for `score` and `stream`; thread-safe.

        Raises:
            ImageError: it cannot be used.
        """
        return prepare(self.panel_, unprepared(self._open(Given(image, 0))))

    @torch.no_grad()
    def features(self, images: Images) -> Features:
        """The features of B images by the head's `spec`; for images cut into tiles, of the tiles.

        Raises:
            InputError: no image, or one that cannot be used.
        """
        panel = self.panel_
        read = (x if isinstance(x, Prepared) else self.prepare(x) for x in each_image(images))
        tiles = chain.from_iterable(one.tiles for one in read)
        spec, parts = panel.specs[self._name], []
        while batch := list(islice(tiles, self.batch_size)):
            parts += panel.extractor.extract(batch, [spec])
        return Features.cat(parts)

    def kinds(self, images: Images) -> list[str]:
        """The known kind that each of B images is nearest to, "" for none (head labelled).

        Raises:
            InputError: no image.
            ImageError: an unusable image.
            HeadError: the head knows no defects, or is not fitted.
        """
        _ = self.panel_  # checks that settings are those of `fit`
        if not self.head_.known:
            raise HeadError(
                f"Head {self._name} knows no defects; give `known_defects` to `fit`, with the head "
                "labelled."
            )
        kinds = self.score(images).kind
        assert kinds is not None
        return kinds.tolist()

    def score(
        self,
        images: Images,
        *,
        category: str | None = None,
        boxes: Sequence[Sequence[Box]] | None = None,
    ) -> ImageScores:
        """Scores of B images as numpy arrays: `image_score` (B,), `anomaly_map` (B, S, S).

        One image is a batch of one. S is the side of the backbone's input. If images are cut into
        tiles, each map has the height and width of its image; where these differ, `anomaly_map`
        is an object array of B maps.

        Args:
            category: what the images show; None is the detector's own.
            boxes: what a detector found in each image, for a head that uses boxes, such as filo.

        Raises:
            InputError: no image, a tile or overlap out of range, or boxes that do not fit.
            ImageError: an unusable image; `stream` continues with the others.
            HeadError: the head is not fitted, needs a category, uses no boxes, or scores images
                jointly and got only one.
        """
        if boxes is not None:
            images = list(each_image(images))
            check_given(self.panel_, boxes, len(images))
        return self._scores(images, category, self._open, boxes or ())

    def _scores(
        self,
        images: Images,
        category: str | None,
        open_item: _Open,
        boxes: Sequence[Sequence[Box]] = (),
    ) -> ImageScores:
        scores, maps = [], []
        kinds: list[str] = []
        for scored in self._stream(images, category, open_item, boxes):
            if scored.failure is not None:
                raise scored.failure
            scores.append(scored.scores[self._name])
            maps.append(scored.maps[self._name])
            kinds += scored.kinds.values()
        names = np.array(kinds) if kinds else None
        return ImageScores(np.array(scores, np.float32), stack_maps(maps), names)

    def stream(self, images: Images, *, category: str | None = None) -> Iterator[ScoredImage]:
        """Score images one by one, in order, in constant memory.

        An unusable image gets its error, and the others continue. A head that scores images jointly
        yields nothing before it has all images.

        Args:
            images: as in `score`; an iterator is read ahead by up to two batches.
            category: what the images show; None is the detector's own.

        Raises:
            InputError: no image.
            HeadError: the head is not fitted, or needs a category.
        """
        for scored in self._stream(images, category, self._open):
            given = scored.sample
            yield ScoredImage(
                given.image,
                given.index,
                scored.size,
                scored.scores.get(self._name),
                scored.maps.get(self._name),
                scored.error,
                scored.kinds.get(self._name),
            )

    def _stream(
        self,
        images: Images,
        category: str | None,
        open_item: _Open,
        boxes: Sequence[Sequence[Box]] = (),
    ) -> Iterator[Scored[Given]]:
        items = (
            Given(image, index, category or self.category, tuple(boxes[index]) if boxes else ())
            for index, image in enumerate(each_image(images))
        )
        return score_given(self.panel_, items, open_item, self.batch_size)

    def calibrate(
        self,
        normals: Images,
        false_alarms: float = FALSE_ALARMS,
        confidence: float | None = None,
        suspects: int = 0,
        holdout: Images | None = None,
    ) -> Detector:
        """Set the threshold on normal images that `fit` has not seen.

        Copies of those that it was shown, or of each other, are left out with a warning.

        Args:
            false_alarms: the false-alarm rate: share of normal images that may be flagged.
            confidence: `predict` abstains from decisions less certain than this, from 0.5 to 1;
                None never abstains.
            suspects: number of the strangest images to leave out as suspected defects.
            holdout: good images of another day, to count false alarms on; they move no threshold.

        Raises:
            InputError: too few images for this rate, an unusable image, a number out of range, or
                only copies in `holdout`.
            HeadError: as `score`, or the head scores images jointly.
        """
        if self.panel_.transductive:
            raise HeadError(
                f"Head {self._name} scores images jointly, so there is no threshold for other "
                "images; fit it on a reference pool first."
            )
        opened = Marking(self.setup)
        scores = self._scores(normals, None, opened)
        copied = find_copies(self._marks, opened.marks)
        kept, notes = keep_others(opened.names, copied, false_alarms)
        other, more = ({}, []) if holdout is None else self._holdout(holdout, opened.marks)
        self.calibration_ = from_normals(
            {self._name: scores.image_score[kept]},
            {self._name: np.array([scores.anomaly_map[i].max() for i in kept])},
            false_alarms=false_alarms,
            confidence=confidence,
            names=[opened.names[i] for i in kept],
            suspects=suspects,
            notes=[*notes, *more],
            settings=self._record(),
            holdout=other,
        )
        self._calibrate_with = self._settings(_CALIBRATE)
        for note in self.calibration_.notes:
            warnings.warn(note, stacklevel=1)
        return self

    def _holdout(
        self, images: Images, known: Sequence[np.ndarray | None]
    ) -> tuple[dict[str, np.ndarray], list[str]]:
        """Scores of good images of another day, and a sentence where some are copies."""
        opened = Marking(self.setup)
        scores = self._scores(images, None, opened)
        copied = find_copies([*self._marks, *known], opened.marks)
        kept, notes = count_others(opened.names, copied)
        return {self._name: scores.image_score[kept]}, notes

    def _record(self) -> dict[str, object]:
        """What its scores depend on, as a run with the same settings has it."""
        panel = self.panel_
        return shared_settings(record_of(panel, self.setup, [self.category], self.learned_))

    def predict(self, images: Images) -> Verdicts:
        """Verdicts on B images.

        Raises:
            InputError: `calibrate` was not called or is out of date, no image, or an unusable
                image.
            HeadError: as `score`.
        """
        return self._decide(self.score(images))

    def _decide(self, scores: ImageScores) -> Verdicts:
        if not hasattr(self, "calibration_"):
            raise InputError("there is no threshold; call `calibrate` with normal images first.")
        self._check_unchanged("calibrate")
        return self.calibration_.decide({self._name: scores.image_score})[self._name]

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Add `image_score` and `anomaly_map` to a batch with "image" or "path" (map_batches).

        A calibrated detector also adds `p_value`, `anomalous`, `abstain` and `severity`, and one
        that knows kinds of defects `kind`.
        """
        scores = self.score(list(batch["image"] if "image" in batch else batch["path"]))
        decided = vars(self._decide(scores)) if hasattr(self, "calibration_") else {}
        found = {name: value for name, value in vars(scores).items() if value is not None}
        return {**batch, **decided, **found}

    def save(self, folder: str | os.PathLike[str], *, with_weights: bool = False) -> Path:
        """Write detector.json, calibration, adapter and what was learned as data, never pickles.

        Args:
            with_weights: also copy the weights of the backbone, so that the folder alone scores on
                a machine without a network.

        Raises:
            AdapterError: the adapter no longer exists.
            BackboneError: as `vlad.backbones.carry.carry`.
            HeadError: the head is an instance or from a file, or a setting changed after `fit` or
                `calibrate`.
            OutputError: the folder is not writable.
        """
        if not isinstance(self.head, str) or ":" in self.head:
            raise HeadError(
                f"Head {self.head!r} has no name that another program can find; register it under "
                "the entry-point group vlad.heads and give that name."
            )
        self._check_unchanged("fit")
        self._check_unchanged("calibrate")
        saved = Saved(
            {**self.get_params(), **self._files},
            self.weights_,
            self.head_.memory_ if hasattr(self, "head_") else {},
            list(self._marks),
            self.learned_,
            getattr(self, "calibration_", None),
        )
        write_detector(saved, Path(folder), self.backbone_ if with_weights else None)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Detector:
        """Load a detector written by `save`.

        Raises:
            InputError: the folder has no detector.
        """
        saved = read_detector(Path(folder))
        detector = cls(**saved.settings)
        detector._marks, detector.learned_ = saved.marks, saved.learned
        if saved.weights:
            detector._loaded.expect(detector.setup, saved.weights)
        detector.head_ = detector._new_head()
        if saved.memory:
            detector.head_.memory_ = saved.memory
            detector._fit_with = detector._settings(_FIT)
        if saved.calibration:
            detector.calibration_ = saved.calibration
            detector._calibrate_with = detector._settings(_CALIBRATE)
            if set(saved.calibration.reference) != {detector.head}:
                raise InputError(
                    f"the calibration in {folder} is not of head {detector.head}; calibrate again."
                )
        return detector

    def __getstate__(self) -> dict[str, Any]:
        _ = self._files  # they may not be there after unpickling
        return vars(self)

    @property
    def _files(self) -> dict[str, Any]:
        """The banks that its head reads and is guided by, and its region of interest, read."""
        read = self._loaded.with_files(self.setup, self._known_head)
        names = ("guide", "ignore", "roi", "roi_ignore")
        return {"bank": read.bank or self.bank, **{name: getattr(read, name) for name in names}}

    @property
    def _known_head(self) -> Head:
        return self.head_ if hasattr(self, "head_") else self._new_head()

    @property
    def _name(self) -> str:
        """The name of the head, once there is a panel."""
        return self.head_.name

    def _settings(self, names: Iterable[str]) -> dict[str, Any]:
        """Copies of the current arguments, unaffected by later changes in place."""
        found = {name: getattr(self, name) for name in names}
        return {k: dict(v) if isinstance(v, Mapping) else v for k, v in found.items()}

    def _check_unchanged(self, verb: str) -> None:
        """Raise a HeadError if a setting changed after `fit` or `calibrate`."""
        was = getattr(self, f"_{verb}_with", {})
        for name, value in self._settings(was).items():
            if value != was[name]:
                raise HeadError(f"`{name}` changed after `{verb}`; call `{verb}` again.")

    def _new_head(self) -> Head:
        return load_head(deepcopy(self.head), **(self.head_params or {}))

    def _learn(self, normals: Images) -> None:
        panel = self.panel_
        opened = Marking(self.setup)
        given = (Given(image, index) for index, image in enumerate(each_image(normals)))
        panel.fit((unprepared(opened(one)) for one in given), [self._name])
        self._marks = [*self._marks, *(mark for mark in opened.marks if mark is not None)]
        for name, digest in opened.digests.items():
            known = self.learned_.get(name, digest) != digest  # an image in memory, of another call
            self.learned_ = {**self.learned_, f"{name} ({digest})" if known else name: digest}

    def _open(self, given: Given) -> Image.Image | Prepared:
        return open_given(given, self.setup)

    @property
    def panel_(self) -> Panel:
        """Its head on its backbone, as `vlad.scoring` takes them.

        Raises:
            HeadError: a setting that `fit` depends on has changed since.
        """
        now = self._settings(self.get_params())
        if panel := self._loaded.panel(now):
            return panel
        self._check_unchanged("fit")
        if not hasattr(self, "_fit_with"):
            self.head_ = self._new_head()
        return self._loaded.make_panel(now, self.setup, self.head_)


def load(head: str | Head = "memory", **options: Any) -> Detector:
    """Create a detector; `options` are those of `Detector` and the head.

    >>> vlad.load("memory", backbone="vlad-tiny").fit("normals/").score("photo.png")

    Raises:
        HeadError: an unknown head or option, or an invalid value.
        InputError: a number out of range.
    """
    known = signature(Detector).parameters
    own = {k: options.pop(k) for k in list(options) if k in known}
    names = [*known, *(signature(head_maker(head)).parameters if isinstance(head, str) else ())]
    for name in (name for name in options if name not in names):
        raise HeadError(f"Head {head} has no option {shown(name)}{instead(name, names)}")
    params = {**(own.pop("head_params", None) or {}), **options}
    detector = Detector(head, **own, head_params=params or None)
    detector._new_head()  # check options at once
    return detector
