"""Figures that papers and others print, and how they were measured, as data.

benchmarks/published.toml holds them; `vlad reproduce` runs the protocols and compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from vlad.errors import InputError
from vlad.system.resources import data_folder, tomllib
from vlad.system.text import instead

KINDS = ("paper", "authors", "re-run", "copied")
TOLERANCE = 1.0  # percentage points
# AUPRO is comparable within one program only, so it is shown and not judged
JUDGED = (
    *("image_auroc", "image_ap", "image_f1_max"),
    *("pixel_auroc", "pixel_ap", "pixel_f1_max"),
)
SHOWN = (*JUDGED, "aupro")


@dataclass(frozen=True)
class DataSource:
    """A labelled data set that figures are printed for.

    Attributes:
        name: as figures name it.
        title: as papers do.
        categories: their names; figures are means over them.
        test_images: number of test images in all of them.
        where: the page to get it from.
        licence: of its images.
        gigabytes: about how large it is; 0 if that is not known.
    """

    name: str
    title: str
    categories: tuple[str, ...]
    test_images: int
    where: str
    licence: str
    gigabytes: float = 0


@dataclass(frozen=True)
class Method:
    """How a head is run for its figures.

    Attributes:
        head: its name.
        backbone: the paper's, as `--backbone` takes it.
        image_size: pixels a side of its input; None is the backbone's own.
        params: of the head.
        params_for: data set -> further parameters for its figures.
        bank: the prompt bank; None is the head's own.
        adapter: data set -> name of the adapter that its figures rest on.
        tolerance: percentage points within which figures count as reproduced.
        note: what else to know.
        differs: data set -> why its figures cannot be judged, a sentence.
        unjudged: metrics that are shown and not judged.
    """

    head: str
    backbone: str
    image_size: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    params_for: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    bank: str | None = None
    adapter: Mapping[str, str] = field(default_factory=dict)
    tolerance: float = TOLERANCE
    note: str = ""
    differs: Mapping[str, str] = field(default_factory=dict)
    unjudged: Sequence[str] = ()

    def params_on(self, data: str) -> dict[str, Any]:
        """The parameters of the head for the figures of a data set."""
        return {**self.params, **self.params_for.get(data, {})}


@dataclass(frozen=True)
class Figure:
    """What one source prints for a head, a data set and a number of normal images.

    Attributes:
        kind: "paper", "authors" for their program's log, "re-run" by others, or "copied" from
            another paper's table.
        source: who says so.
        values: metric -> mean over categories, in percent.
        std: metric -> standard deviation over draws, in percentage points.
        target: whether it is the one to judge by.
    """

    head: str
    data: str
    k_shot: int
    kind: str
    source: str
    values: Mapping[str, float]
    std: Mapping[str, float]
    target: bool


@dataclass(frozen=True)
class Published:
    """All of benchmarks/published.toml.

    Attributes:
        data: name -> data set.
        methods: head -> how it is run.
        figures: in the order of the file.
    """

    data: Mapping[str, DataSource]
    methods: Mapping[str, Method]
    figures: tuple[Figure, ...]

    def method(self, head: str) -> Method:
        """How a head is run.

        Raises:
            InputError: no figures of it are known.
        """
        if head not in self.methods:
            raise InputError(f"No published figures of {head!r}{instead(head, self.methods)}")
        return self.methods[head]

    def of(self, head: str, data: str, k_shot: int) -> list[Figure]:
        """The figures of a head on a data set with some normal images, the one to judge by first.

        Empty if there are none.
        """
        key = head, data, k_shot
        found = [f for f in self.figures if (f.head, f.data, f.k_shot) == key]
        return sorted(found, key=lambda figure: not figure.target)

    def shots(self, head: str, data: str) -> list[int]:
        """Numbers of normal images that a head has figures for, ascending."""
        return sorted({f.k_shot for f in self.figures if (f.head, f.data) == (head, data)})


@cache
def published() -> Published:
    """The figures that ship with vlad."""
    file = data_folder("benchmarks") / "published.toml"
    return read_published(file.read_text(encoding="utf-8"))


def read_published(text: str) -> Published:
    """The figures in a TOML text as benchmarks/published.toml."""
    table = tomllib.loads(text)
    return Published(
        {
            entry["name"]: DataSource(**entry | {"categories": tuple(entry["categories"])})
            for entry in table["data"]
        },
        {entry["head"]: Method(**entry) for entry in table["method"]},
        tuple(map(_figure, table["figure"])),
    )


def _figure(entry: dict) -> Figure:
    entry = {"k_shot": 0, "std": {}, "target": False, **entry}
    values = {name: float(entry.pop(name)) for name in SHOWN if name in entry}
    return Figure(values=values, **entry)
