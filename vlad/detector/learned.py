"""What a detector learns, and when it has to learn again."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from vlad.backbones.backbone import Backbone
from vlad.datasets.known import list_known
from vlad.detector.arguments import Arguments
from vlad.detector.loaded import Loaded
from vlad.errors import HeadError, InputError
from vlad.heads import Head, load_head
from vlad.heads.removal import without
from vlad.scoring.given import Given, Images, Marking, each_image, open_given, unprepared
from vlad.scoring.known import add_unmarked, fit_known
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import Prepared
from vlad.scoring.record import LENGTH, digests, digests_of_known
from vlad.system.text import counted

if TYPE_CHECKING:
    from typing import Self

# settings that the result of `fit` depends on, and those that a threshold also depends on
FIT = (
    *("head", "head_params", "backbone", "image_size", "tile", "overlap", "bits"),
    *("guide", "ignore", "directions"),
)
MARKED = " (marked)"  # after the name of a known defect, for the digest with its kind
CALIBRATE = (*FIT, "bank", "category", "dtype", "roi", "roi_ignore")


class Learned(Arguments):
    """What a detector has loaded and learned, in step with its arguments.

    Attributes:
        head_, learned_: see `vlad.detector.Detector`.
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

    def fit(self, normals: Images, *, known_defects: str | os.PathLike[str] | None = None) -> Self:
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
            marked = {f"{name}{MARKED}": own for name, own in digests_of_known(known).items()}
            self.learned_ = {**self.learned_, **digests(known), **marked}
        self._fit_with = self._settings(FIT)
        return self

    def partial_fit(self, normals: Images) -> Self:
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
        self._fit_with = self._settings(FIT)
        self._drop_calibration()
        return self

    def learn_defects(self, defects: Images, kinds: Sequence[str]) -> Self:
        """Add B defects without masks to those that the head labelled knows; return itself.

        Of each image, the patches that are least like normal images stand for the defect. A
        calibration is dropped.

        Args:
            kinds: B names of kinds.

        Raises:
            InputError: no image, one that cannot be used, or more or fewer kinds.
            HeadError: the head is not fitted, or remembers no defects.
        """
        panel, opened = self.panel_, Marking(self.setup)
        given = [Given(image, index) for index, image in enumerate(each_image(defects))]
        if len(given) != len(kinds):
            raise InputError(
                f"{counted(len(kinds), 'kind')} for {counted(len(given), 'image')}; give one of "
                "each."
            )
        images = (unprepared(opened(one)) for one in given)
        add_unmarked(panel, zip(images, kinds, strict=True))
        marked = {
            name: sha256(f"{kind}\0{digest}".encode()).hexdigest()[:LENGTH]
            for (name, digest), kind in zip(opened.digests.items(), kinds, strict=True)
        }
        self._name_learned(opened.digests, marked)
        self._drop_calibration()
        return self

    def remove(self, places: Iterable[int]) -> Self:
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
        self._drop_calibration()
        return self

    def _drop_calibration(self) -> None:
        for name in ("calibration_", "_calibrate_with"):
            vars(self).pop(name, None)

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
        self._name_learned(opened.digests)

    def _name_learned(
        self, digests: Mapping[str, str], marked: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Keep names and digests of learned images, and of defects what says their kind too."""
        learned = dict(self.learned_)

        def keep(name: str, end: str, digest: str) -> str:
            if learned.get(name + end, digest) != digest:
                name = f"{name} ({digest})"  # an image in memory of another call, or a changed file
            learned[name + end] = digest
            return name

        for name, digest in digests.items():
            kept = keep(name, "", digest)
            if name in marked:
                keep(kept, MARKED, marked[name])
        self.learned_ = learned

    @property
    def references_(self) -> list[tuple[str, str]] | None:
        """Name and digest of each normal image in order; None if one was shown twice."""
        learned = self.learned_
        normal = [
            (name, digest)
            for name, digest in learned.items()
            if f"{name}{MARKED}" not in learned and not name.endswith(MARKED)
        ]
        return normal if len(normal) == len(self._marks) else None

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
