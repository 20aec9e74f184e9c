"""The detectors served, by name."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from PIL import Image

from vlad.backbones.backbone import Backbone
from vlad.calibration import Calibration
from vlad.detector import Detector
from vlad.errors import BackboneError, HeadError, InputError, VladError
from vlad.serving.drift import ServedDrift
from vlad.serving.limits import MAX_CATEGORIES, MAX_MADE
from vlad.system.text import shown

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"


class Conflict(Exception):
    """A detector cannot be added or deleted; the text says why in one sentence."""


@dataclass(eq=False)
class Served:
    """One detector and the name it goes by.

    Attributes:
        made: whether it was fitted over HTTP; only then may it be deleted over HTTP.
        load: loads the detector from its folder again; None if it has none.
        categories: those it has read about so far; each takes memory.
    """

    name: str
    detector: Detector
    made: bool = False
    load: Callable[[], Detector] | None = None
    categories: set[str] = field(default_factory=set)

    @cached_property
    def drift(self) -> ServedDrift:
        """How the images that it scores compare with the good ones of its calibration."""
        return ServedDrift(self.detector.head_.name, getattr(self.detector, "calibration_", None))

    @property
    def reads(self) -> bool:
        """Whether the head reads text."""
        return self.detector.head_.bank is not None

    @property
    def basis(self) -> list[str]:
        """Sentences about what its threshold rests on."""
        found: Calibration | None = getattr(self.detector, "calibration_", None)
        return (
            list(filter(None, [found.basis(self.detector.head_.name), *found.notes]))
            if found
            else []
        )

    def category(self, asked: str | None) -> str | None:
        """The category its head reads about; None if it reads no text.

        Raises:
            HeadError: it has read about too many categories.
        """
        category = (asked or self.detector.category) if self.reads else None
        if category and category not in self.categories:
            if len(self.categories) >= MAX_CATEGORIES:
                raise HeadError(
                    f"Detector {self.name} already holds {MAX_CATEGORIES} categories, the most it "
                    "keeps; use one of them, or restart the service."
                )
            self.categories.add(category)
        return category

    def calibration(self, category: str | None) -> Calibration | None:
        """Its calibration, if that holds for this category, else None."""
        own = not self.reads or category == self.detector.category
        return getattr(self.detector, "calibration_", None) if own else None


class Store:
    """Detectors by name; those given at the start stay.

    Attributes:
        reloading: held while a detector is loaded again.
        on_replace: called with the name of one that was replaced.

    Raises:
        InputError: an invalid name, or one that two detectors share.
    """

    def __init__(self, served: Iterable[Served]):
        self.reloading = asyncio.Lock()
        self.on_replace: Callable[[str], object] = lambda name: None
        self._served: dict[str, Served] = {}
        for one in served:
            check_name(one.name)
            if one.name in self._served:
                raise InputError(
                    f"Two detectors are called {one.name}; rename one, as in other=FOLDER."
                )
            self._served[one.name] = one

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self._served.values()))

    def __len__(self) -> int:
        return len(self._served)

    def find(self, name: str | None) -> Served | None:
        """The detector with this name, or the first if it is None; None if there is no such one."""
        return self._served.get(name) if name else next(iter(self))

    def check_room(self, name: str) -> None:
        """Check that a detector with this name can be added; raise a Conflict if not."""
        if name in self._served:
            raise Conflict(f"Detector {name} already exists; choose another name.")
        if sum(one.made for one in self) >= MAX_MADE:
            raise Conflict(f"{MAX_MADE} detectors were already made over HTTP; delete one.")

    def add(self, one: Served) -> None:
        """Add a detector made over HTTP; raise a Conflict if that is not possible."""
        self.check_room(one.name)
        self._served[one.name] = one

    def replace(self, one: Served) -> None:
        """Put a detector in the place of the one with its name."""
        self._served[one.name] = one
        self.on_replace(one.name)

    def remove(self, one: Served) -> None:
        """Delete a detector made over HTTP; raise a Conflict if it was given at the start."""
        if not one.made:
            raise Conflict(f"Detector {one.name} was given at the start and cannot be deleted.")
        del self._served[one.name]

    def another(self, head: str, category: str | None) -> Detector:
        """Return an unfitted detector with the backbone and settings of the first."""
        first = next(iter(self)).detector
        made = Detector(head, category=category, **{**vars(first.setup), "bank": None})
        made.backbone_ = first.backbone_
        return made


def named(text: str) -> tuple[str, Path]:
    """NAME=FOLDER -> name and folder; FOLDER alone is named after itself."""
    name, equals, folder = text.partition("=")
    if equals and not os.path.exists(text):
        return name, Path(folder)
    return Path(text).resolve().name, Path(text)


def check_name(name: str) -> None:
    """Check that a name can be a detector's; raise an InputError if not."""
    if not re.fullmatch(NAME, name):
        raise InputError(
            f"{name!r} is not a valid name for a detector; use up to 64 letters, digits, dots, "
            "dashes and underscores, as in bottle=FOLDER."
        )


def make_ready(served: Sequence[Served], among: Iterable[Served] = ()) -> None:
    """Load the backbones, each once, and score a blank image with every detector.

    Args:
        among: detectors that are ready, whose backbones are used if they are the same.

    Raises:
        HeadError: a head that was not fitted, judges a list of images jointly, or cannot score.
        BackboneError: a backbone that cannot be loaded.
    """
    loaded: dict[tuple, Backbone] = {_key(one): one.detector.backbone_ for one in among}
    for one in served:
        detector = one.detector
        if backbone := loaded.get(_key(one)):
            with suppress(BackboneError):  # it was saved with other weights of that name
                detector.backbone_ = backbone
        loaded[_key(one)] = detector.backbone_
        with _said(one):
            region = detector.panel_.inside.region
            blank = Image.new("RGB", region.size if region else (64, 64))
            detector.prepare(blank)
        if detector.head_.transductive:
            raise HeadError(
                f"Head {detector.head_.name} judges a list of images jointly, but the service "
                "scores each image on its own; fit it on a reference pool first, with `vlad fit`."
            )
        with _said(one):
            if not one.reads or detector.category:
                detector.score(blank)


def _key(one: Served) -> tuple[str, ...]:
    """What two detectors with the same backbone have in common."""
    made = one.detector
    return made.backbone, made.device, made.dtype, made.runtime


@contextmanager
def _said(one: Served) -> Iterator[None]:
    """Turn any error of a detector that cannot score into one sentence."""
    try:
        yield
    except VladError:
        raise
    except Exception as error:  # saved tensors can have any names, shapes and types
        raise HeadError(
            f"Detector {one.name} cannot score ({shown(error)}): what it learned does not fit "
            "its backbone or settings; fit it again."
        ) from error
