"""A detector with scikit-learn's interface: a head, a backbone, and what they learned."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import signature
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from PIL import Image

from vlad.calibration import FALSE_ALARMS, from_normals
from vlad.calibration.copies import count_others, find_copies, keep_others
from vlad.detector.learned import CALIBRATE
from vlad.detector.stored import Stored
from vlad.errors import HeadError, InputError
from vlad.heads import Head, head_maker
from vlad.images import ImageLike
from vlad.images.tiles import stack_maps
from vlad.reasons import Explanation, explain, say
from vlad.report.scores import ImageScores
from vlad.results.shared import shared_settings
from vlad.scoring.boxes import check_given
from vlad.scoring.given import (
    Given,
    Images,
    Marking,
    ScoredImage,
    each_image,
    score_given,
    unprepared,
)
from vlad.scoring.pipeline import Prepared, Scored, prepare
from vlad.scoring.record import record_of
from vlad.system.text import instead, shown
from vlad.types import Box, Features, Seen, Verdicts
from vlad.vlm import VLM

_Open = Callable[[Given], Image.Image | Prepared]


class Detector(Stored):
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
        looks: list[Seen | None] | None = None,
    ) -> ImageScores:
        """The scores of B images; `looks` gets how each of them looks."""
        scores, maps = [], []
        kinds: list[str] = []
        for scored in self._stream(images, category, open_item, boxes):
            if scored.failure is not None:
                raise scored.failure
            scores.append(scored.scores[self._name])
            maps.append(scored.maps[self._name])
            kinds += scored.kinds.values()
            if looks is not None:
                looks.append(scored.seen)
        names = np.array(kinds) if kinds else None
        return ImageScores(np.array(scores, np.float32), stack_maps(maps), names)

    def explain(
        self,
        image: ImageLike,
        *,
        category: str | None = None,
        boxes: Sequence[Box] = (),
        vlm: VLM | None = None,
    ) -> Explanation:
        """Why one image scores as it does: its regions, and what the head says about each.

        A calibrated detector takes the regions above its map threshold.

        Args:
            category: what the image shows; None is the detector's own.
            boxes: what a detector found in it, for a head that uses boxes.
            vlm: a vision-language model (`vlad.vlm.load_vlm`) that adds `words` of its own, on
                which nothing else depends.

        Raises:
            ImageError: an unusable image, or one prepared before.
            VlmError: a model that cannot be reached.
            HeadError: as `score`, or images are cut into tiles or scored jointly.
        """
        panel, name = self.panel_, getattr(image, "filename", None) or "image"
        if isinstance(image, str | os.PathLike):
            name = os.fspath(image)
        if boxes:
            check_given(panel, [boxes], 1)
        threshold = None
        if hasattr(self, "calibration_"):
            self._check_unchanged("calibrate")
            threshold = self.calibration_.map_thresholds.get(self._name)
        found = explain(
            panel,
            unprepared(self._open(Given(image, 0))),
            name=name,
            category=category or self.category,
            threshold=threshold,
            learned=self.references_,
            open_image=self.setup.open_image,
            boxes=tuple(boxes),
        )
        if vlm is None:
            return found
        return next(say(vlm, [(found, category or self.category)], 1))

    def stream(self, images: Images, *, category: str | None = None) -> Iterator[ScoredImage]:
        """Score images one by one, in order, in constant memory.

        An unusable image gets its error, and the others continue. A head that scores images jointly
        yields nothing before it has all images.

        Args:
            images: as in `score`; an iterator is read ahead by up to two batches, on a GPU by
                three.
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
                scored.seen,
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
        looks: list[Seen | None] = []
        scores = self._scores(normals, None, opened, looks=looks)
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
            seen=[looks[i] for i in kept],
        )
        self._calibrate_with = self._settings(CALIBRATE)
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
