"""The detectors served, by name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from PIL import Image

from vlad.backbones.backbone import Backbone
from vlad.calibration import Calibration
from vlad.detector import Detector
from vlad.errors import HeadError, InputError, VladError
from vlad.serving.limits import MAX_CATEGORIES, MAX_MADE
from vlad.system.text import shown

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"


class Conflict(Exception):
    """A detector cannot be added or deleted; the text says why in one sentence."""


@dataclass(eq=False)
class Served:
    """One detector and the name it goes by.

    Attributes:
        made: whether it was fitted over HTTP, and so may be deleted over HTTP.
        categories: what it was asked about so far; each costs memory.
    """

    name: str
    detector: Detector
    made: bool = False
    categories: set[str] = field(default_factory=set)

    @property
    def reads(self) -> bool:
        """Whether the head compares images with words."""
        return self.detector.head_.bank is not None

    @property
    def basis(self) -> list[str]:
        """Sentences about what its threshold rests on."""
        found: Calibration | None = getattr(self.detector, "calibration_", None)
        return list(filter(None, [found.basis(self.detector.head), *found.notes])) if found else []

    def category(self, asked: str | None) -> str | None:
        """What its head is to read about; None where it reads nothing.

        Raises:
            HeadError: a head that reads is told nothing to read about, or was told too many things.
        """
        category = (asked or self.detector.category) if self.reads else None
        if category and category not in self.categories:
            if len(self.categories) >= MAX_CATEGORIES:
                raise HeadError(
                    f"Detector {self.name} has read about {MAX_CATEGORIES} categories and keeps no "
                    "more; use one of them, or start the service again."
                )
            self.categories.add(category)
        return category

    def calibration(self, category: str | None) -> Calibration | None:
        """What its scores mean, where they are about what it was calibrated on."""
        own = not self.reads or category == self.detector.category
        return getattr(self.detector, "calibration_", None) if own else None


class Store:
    """Name -> detector; those given at the start stay.

    Raises:
        InputError: a name that is none, or that two of them have.
    """

    def __init__(self, served: Iterable[Served]):
        self._served: dict[str, Served] = {}
        for one in served:
            check_name(one.name)
            if one.name in self._served:
                raise InputError(
                    f"Two detectors are called {one.name}; name one of them, as in other=FOLDER."
                )
            self._served[one.name] = one

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self._served.values()))

    def find(self, name: str | None) -> Served | None:
        """The detector of a name, or the first one; None where there is none."""
        return self._served.get(name) if name else next(iter(self))

    def check_room(self, name: str) -> None:
        """Raises a Conflict if no detector of this name can be added."""
        if name in self._served:
            raise Conflict(f"There is a detector {name} already; choose another name.")
        if sum(one.made for one in self) >= MAX_MADE:
            raise Conflict(f"{MAX_MADE} detectors were made over HTTP already; delete one.")

    def add(self, one: Served) -> None:
        """Adds one that was made over HTTP, or raises a Conflict."""
        self.check_room(one.name)
        self._served[one.name] = one

    def remove(self, name: str) -> bool:
        """Deletes one that was made over HTTP; whether there was any of this name.

        Raises:
            Conflict: it was given at the start.
        """
        if name not in self._served:
            return False
        if not self._served[name].made:
            raise Conflict(f"Detector {name} was given when the service began, so it stays.")
        del self._served[name]
        return True

    def another(self, head: str, category: str | None) -> Detector:
        """A detector to be fitted, with the backbone and settings of the first."""
        first = next(iter(self)).detector
        made = Detector(head, category=category, **{**asdict(first.setup), "bank": None})
        made.backbone_ = first.backbone_
        return made


def named(text: str) -> tuple[str, Path]:
    """NAME=FOLDER, or FOLDER alone, which lends its own name."""
    name, equals, folder = text.partition("=")
    if equals and not os.path.exists(text):
        return name, Path(folder)
    return Path(text).resolve().name, Path(text)


def check_name(name: str) -> None:
    """Raises an InputError for what cannot name a detector."""
    if not re.fullmatch(NAME, name):
        raise InputError(
            f"A detector cannot be called {name!r}; use up to 64 letters, digits, dots, dashes and "
            "underscores, as in bottle=FOLDER."
        )


def make_ready(served: Sequence[Served]) -> None:
    """Loads backbones, one for all detectors that want the same, and scores a blank image.

    Raises:
        HeadError: a head that was not fitted, judges a list jointly, or cannot score.
        BackboneError: a backbone that cannot be loaded.
    """
    loaded: dict[tuple, Backbone] = {}
    blank = Image.new("RGB", (64, 64))
    for one in served:
        detector = one.detector
        key = (detector.backbone, detector.device, detector.dtype, detector.runtime)
        if key in loaded:
            detector.backbone_ = loaded[key]
        loaded[key] = detector.backbone_
        with _said(one):
            detector.prepare(blank)
        if detector.head_.transductive:
            raise HeadError(
                f"Head {detector.head} judges a list of images jointly, and a service is asked "
                "about one at a time; fit it on a reference pool first, with `vlad fit`."
            )
        with _said(one):
            if not one.reads or detector.category:
                detector.score(blank)


@contextmanager
def _said(one: Served) -> Iterator[None]:
    """One sentence for a detector that cannot score."""
    try:
        yield
    except VladError:
        raise
    except Exception as error:  # what was saved may be of any names, shapes and types
        raise HeadError(
            f"Detector {one.name} cannot score ({shown(error)}): what it remembers does not fit "
            "its backbone or settings; fit it anew."
        ) from error
