"""Recipes for training adapters, in TOML. adapters/README.md describes the format."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlad.adapters.layouts import LARGEST, default_params, layout_names, layout_of
from vlad.errors import TrainingError
from vlad.system.resources import data_folder
from vlad.system.tables import Table, read_table
from vlad.system.text import instead, shown
from vlad.training.objectives import LOSSES
from vlad.types import BackboneInfo

OPTIMISERS = ("adam", "adamw", "sgd")
# of a head that learns from texts
TEXT_LOSSES = ("text_task", "text_words")
KEYS = (
    *("title", "source", "head", "image_size", "epochs", "batch_size", "seed", "mosaic"),
    *("shuffle", "mask_above"),
    *("patience", "params", "optimiser", "losses", "phases"),
)
REQUIRED = ("head", "batch_size", "optimiser")
OF_OPTIMISER = ("name", "lr", "betas", "weight_decay", "momentum", "plateau")
OF_PHASES = ("epochs", "losses")  # at the top of a recipe without phases, else in each of them


@dataclass(frozen=True)
class Optimiser:
    """Settings of the optimiser.

    Attributes:
        name: "adam", "adamw" or "sgd".
        lr, betas, weight_decay, momentum: as in torch.optim; "sgd" has no betas, only it momentum;
            lr is 0 in a recipe with phases.
        plateau: epochs without a lower training loss after which `lr` is divided by 10; 0 never.
    """

    name: str
    lr: float
    betas: tuple[float, float]
    weight_decay: float
    momentum: float
    plateau: int


@dataclass(frozen=True)
class Phase:
    """A part of a training, in which some of the tensors are learned.

    Attributes:
        epochs: passes over the data.
        lr: pattern of tensors' names, as in `fnmatch` -> learning rate; the first that fits counts,
            and tensors that none fits are not learned.
        losses: name -> weight of each loss in the sum.
    """

    epochs: int
    lr: Mapping[str, float]
    losses: Mapping[str, float]


@dataclass(frozen=True)
class Recipe:
    """All settings of a training except its data and backbone.

    Attributes:
        name: file name without suffix.
        title, source: description, and the source of its numbers.
        head: the head to train an adapter for.
        params: sizes of the head's adapter. `layers` are block numbers, or fractions of the depth
            written with a point; defaults are in `vlad.adapters.layouts`.
        image_size: side of the backbone's input in pixels, or None for the backbone's own.
        epochs: passes over the data, in all phases.
        batch_size: images per optimiser step, over all processes.
        optimiser: settings of the optimiser.
        losses: name -> weight of each loss in the sum; those of all phases, if there are any.
        mosaic: probability of combining an image with three others of its category.
        mask_above: share of a pixel that a resized mask must cover to call it anomalous.
        shuffle: whether every epoch has an order of its own; without it, all have that of the data.
        seed: seed of initial values, order and mosaics.
        patience: epochs without better held-out figures before training, or a phase of it, stops.
        phases: parts that follow each other; () learns everything at once.
    """

    name: str
    title: str
    source: str
    head: str
    params: Mapping[str, Any]
    image_size: int | None
    epochs: int
    batch_size: int
    optimiser: Optimiser
    losses: Mapping[str, float]
    mosaic: float
    mask_above: float
    shuffle: bool
    seed: int
    patience: int
    phases: tuple[Phase, ...] = ()

    @property
    def parts(self) -> tuple[Phase, ...]:
        """Its phases, or all of it as one."""
        return self.phases or (Phase(self.epochs, {"*": self.optimiser.lr}, self.losses),)

    def table(self) -> dict[str, Any]:
        """The recipe as plain values, equal for recipes that train alike."""
        return asdict(self)

    def params_on(self, backbone: BackboneInfo) -> dict[str, Any]:
        """The adapter's params on a backbone, with sizes cut to those that fit."""
        sizes = {key: value for key, value in self.params.items() if key != "layers"}
        params = default_params(self.head, backbone, sizes)
        for size, number in sizes.items():
            if params[size] < number:
                warnings.warn(
                    f"{backbone.name} allows {size} = {params[size]}, not {number}.",
                    stacklevel=2,
                )
        if "layers" in self.params:
            params["layers"] = list(backbone.layers(self.params["layers"]))
        return params

    def size_on(self, backbone: BackboneInfo, asked: int | None = None) -> int | None:
        """Pixels a side of a backbone's input: the recipe's, in whole patches; None is its own.

        Args:
            asked: in place of the recipe's, as it is.

        Raises:
            TrainingError: patches do not fill what was asked for.
        """
        patch = backbone.step
        if asked and asked % patch:
            raise TrainingError(
                f"`image_size` {asked} is not a multiple of the {patch}-pixel patches of "
                f"{backbone.name}; give {asked - asked % patch} or {asked + patch - asked % patch}."
            )
        if asked or self.image_size is None:
            return asked
        side = max(1, round(self.image_size / patch)) * patch
        if side != self.image_size:
            warnings.warn(
                f"{backbone.name} has patches of {patch} pixels, so image_size is {side}, not "
                f"{self.image_size} as in the recipe.",
                stacklevel=2,
            )
        return side


def recipe_names() -> list[str]:
    """Names of the recipes shipped with vlad."""
    files = data_folder("adapters").glob("*.toml")
    return sorted(file.stem for file in files if file.name != "registry.toml")


def load_recipe(name_or_path: str | Path, seed: int | None = None) -> Recipe:
    """A shipped recipe by name, or any recipe by the path of its file.

    Args:
        seed: overrides the recipe's.

    Raises:
        TrainingError: there is no such recipe, or its file is invalid; it names the faulty key.
    """
    path = Path(name_or_path)
    if str(name_or_path) in recipe_names():
        path = data_folder("adapters") / f"{name_or_path}.toml"
    elif not path.exists():
        known = recipe_names()
        or_file = f"give a TOML file, or one of {', '.join(known)}"
        raise TrainingError(
            f"Unknown recipe {str(name_or_path)!r}{instead(name_or_path, known, or_file)}"
        )
    table = read_table(path, TrainingError)
    return _recipe(path, table | ({} if seed is None else {"seed": seed}))


def _recipe(path: Path, table: dict[str, Any]) -> Recipe:
    read = _Reader(path, table, KEYS, TrainingError)
    for key in REQUIRED:
        read.need(key in table, key, "is missing and has no default; give it")
    head = read.text("head", choices=layout_names())
    optimiser = read.sub("optimiser", OF_OPTIMISER)
    phases = tuple(map(_phase, read.phases()))
    for reader, keys in ((read, OF_PHASES), (optimiser, ("lr",))):
        for key in keys:
            given = key in reader.table
            reader.need(given or phases, key, "is missing and has no default; give it")
            reader.need(not (given and phases), key, "is given by each of the phases; remove it")
    fix = "follows one loss, and phases have several; leave it out"
    optimiser.need(not (phases and "plateau" in optimiser.table), "plateau", fix)
    foreign = "betas" if optimiser.table.get("name") == "sgd" else "momentum"
    fix = "is not a setting of this optimiser; leave it out"
    optimiser.need(foreign not in optimiser.table, foreign, fix)
    known = TEXT_LOSSES if layout_of(head).from_text else LOSSES
    for key in ("image_size", "mosaic", "mask_above", "patience", "phases"):
        fix = f"is about images, but head {head} learns from texts; leave it out"
        read.need(key not in table or known is LOSSES, key, fix)
    losses = {name: weight for phase in phases for name, weight in phase.losses.items()}
    params = read.sub("params", ("layers", *layout_of(head).defaults))
    return Recipe(
        name=path.stem,
        title=read.text("title", ""),
        source=read.text("source", ""),
        head=head,
        params={
            key: params.layers() if key == "layers" else params.whole(key, 1, LARGEST)
            for key in params.table
        },
        image_size=read.whole("image_size", 16, LARGEST) or None,
        epochs=sum(phase.epochs for phase in phases) or read.epochs(),
        batch_size=read.whole("batch_size", 1, 1_000_000),
        optimiser=Optimiser(
            name=optimiser.text("name", "adam", OPTIMISERS),
            lr=optimiser.number("lr", 0, 100, 0.0, above=not phases),
            betas=optimiser.betas(),
            weight_decay=optimiser.number("weight_decay", 0, 100, 0.0),
            momentum=optimiser.number("momentum", 0, 1, 0.0),
            plateau=optimiser.whole("plateau", 0, 100_000, 0),
        ),
        losses=losses or read.losses(known),
        mosaic=read.number("mosaic", 0, 1, 0.0),
        mask_above=read.number("mask_above", 0, 0.99, 0.5),
        shuffle=read.flag("shuffle", True),
        seed=read.whole("seed", 0, 2**32 - 1, 0),
        patience=read.whole("patience", 1, 100_000, 3),
        phases=phases,
    )


def _phase(read: _Reader) -> Phase:
    for key in ("lr", *OF_PHASES):
        read.need(key in read.table, key, "is missing and has no default; give it")
    patterns = read.table["lr"]
    listed = isinstance(patterns, dict) and len(patterns) > 0
    read.need(listed, "lr", "is not a table of names of tensors and their rates; write it as one")
    rates = read.sub("lr", tuple(patterns))
    return Phase(
        epochs=read.epochs(),
        lr={key: rates.number(key, 0, 100, 0.0, above=True) for key in patterns},
        losses=read.losses(),
    )


class _Reader(Table):
    """Readers of the values that only recipes have."""

    def phases(self) -> list[_Reader]:
        value = self.table.get("phases", [])
        ok = isinstance(value, list) and all(isinstance(v, dict) for v in value)
        self.need(ok, "phases", "are not tables; write each below a line [[phases]]")
        keys = ("lr", *OF_PHASES)
        return [
            _Reader(self.path, v, keys, TrainingError, f"phases[{i}].") for i, v in enumerate(value)
        ]

    def epochs(self) -> int:
        return self.whole("epochs", 1, 100_000)

    def losses(self, known: Collection[str] = LOSSES) -> dict[str, float]:
        found = self.sub("losses", tuple(known))
        self.need(len(found.table), "losses", f"is empty; choose from {', '.join(known)}")
        return {key: found.number(key, 0, 1e6, 0.0, above=True) for key in found.table}

    def flag(self, key: str, default: bool) -> bool:
        value = self.table.get(key, default)
        self.need(type(value) is bool, key, f"is {shown(repr(value))}; give true or false")
        return value

    def betas(self) -> tuple[float, float]:
        value = self.table.get("betas", [0.9, 0.999])
        fits = isinstance(value, list) and len(value) == 2
        fits = fits and all(type(beta) in (int, float) and 0 <= beta < 1 for beta in value)
        self.need(fits, "betas", f"is {shown(repr(value))}; give two numbers from 0 to below 1")
        return (float(value[0]), float(value[1]))

    def layers(self) -> list[int | float]:
        value = self.table["layers"]
        fits = isinstance(value, list) and len(value) > 0
        fits = fits and all(
            (type(part) is int and 0 < part <= LARGEST) or (type(part) is float and 0 < part <= 1)
            for part in value
        )
        self.need(
            fits,
            "layers",
            f"is {shown(repr(value))}; list block numbers, or fractions of the depth such as 0.5",
        )
        return value
