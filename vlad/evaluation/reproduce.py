"""Published protocols run again, a head on a data set at a time, each a bench of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlad.adapters import find_adapter, head_of, identities, read_adapter
from vlad.backbones.known import known_backbones
from vlad.datasets import DATASETS, load_dataset
from vlad.datasets.detect import detect
from vlad.errors import AdapterError, BackboneError, HeadError, InputError
from vlad.evaluation.bench import bench
from vlad.evaluation.published import DataSource, Method, Published
from vlad.evaluation.reproduction import Missing, Reproduction, short
from vlad.heads import load_head
from vlad.scoring.setup import Setup
from vlad.system.text import counted, shown

MOST = 3  # categories that are named


@dataclass(frozen=True)
class Asked:
    """What is asked for; None is the method's own.

    Attributes:
        setup: how to compute; its backbone, image size and bank are those of the method.
        out: folder with a bench for each head and data set.
        seeds: of the draws of normal images.
        shots: numbers of normal images.
        tolerance: percentage points, whatever deviation over draws a source states.
        adapters: names or paths, in place of those of the same head.
        backbone: as `vlad.backbones.load_backbone` takes it.
    """

    setup: Setup
    out: Path
    seeds: Sequence[int]
    shots: Sequence[int] | None = None
    tolerance: float | None = None
    adapters: Sequence[str] = ()
    backbone: str | None = None


@dataclass(frozen=True)
class LocalSet:
    """A data set on this disk: its folder, its layout, and its samples."""

    source: DataSource
    root: str
    layout: str
    data: Any


def open_set(source: DataSource, root: str) -> LocalSet:
    """Open a data set, by its own layout where files do not tell it from another.

    Raises:
        InputError: as `vlad.datasets.load_dataset`.
    """
    layout = detect(root)
    if DATASETS.get(source.name) == DATASETS.get(layout):
        layout = source.name
    return LocalSet(source, root, layout, load_dataset(layout, root))


def check_adapters(methods: Sequence[Method], asked: Asked) -> None:
    """Check that each adapter is for one of the heads.

    Raises:
        AdapterError: there is no such adapter, or its file is invalid.
        InputError: it is for another head, or a head has two.
    """
    heads: dict[str, str] = {}
    for adapter in asked.adapters:
        head = head_of(adapter)
        if head not in [method.head for method in methods]:
            raise InputError(
                f"The adapter {shown(adapter)} is for head {head}, which is not measured; name "
                "the head, or leave the adapter out."
            )
        if head in heads:
            raise InputError(
                f"{shown(heads[head])} and {shown(adapter)} are both adapters of head {head}; "
                "give one, or measure one data set at a time."
            )
        heads[head] = adapter


def measure(
    known: Published, method: Method, one: LocalSet, asked: Asked
) -> list[Reproduction | Missing]:
    """Measure a head on a data set with all numbers of normal images that have figures.

    Raises:
        OutputError: as `vlad.evaluation.bench.bench`.
    """
    name = one.source.name
    shots = [k for k in known.shots(method.head, name) if asked.shots is None or k in asked.shots]
    if not shots:
        return []
    setup = replace(
        asked.setup,
        backbone=asked.backbone or method.backbone,
        image_size=method.image_size,
        bank=method.bank,
    )
    params = method.params_on(name)
    try:
        if adapter := _adapter(method, name, asked):
            params["adapter"] = adapter
        backbone = setup.load_backbone({method.head: load_head(method.head, **params)})
        rows = bench(
            backbone,
            {name: one.data},
            lambda: {method.head: load_head(method.head, **params)},
            shots,
            asked.seeds,
            asked.out / f"{method.head}-{name}",
            {
                "data": {name: one.root},
                "layout": {name: one.layout},
                "head": method.head,
                "k_shot": shots,
                "seeds": list(asked.seeds),
                "params": [f"{method.head}.{key}={value}" for key, value in params.items()],
                "adapters": identities([adapter] if adapter else []),
                "backbone": backbone.info.name,
                "weights": backbone.fingerprint[:16],
                "image_size": setup.image_size,
                "bank": setup.bank,
                "dtype": setup.dtype,
                "runtime": setup.runtime,
            },
            layouts={name: one.layout},
            setup=setup,
        )
    except BackboneError as error:
        weights = "" if asked.backbone else _weights(method.backbone)
        return [Missing(method, one.source, f"{error}{weights}")]
    except (AdapterError, HeadError, InputError) as error:
        return [Missing(method, one.source, str(error))]
    differs = _differs(method, one, setup, adapter, rows)
    tolerance = method.tolerance if asked.tolerance is None else asked.tolerance
    assumed = _assumed(method, setup.backbone)
    return [
        Reproduction(
            method,
            one.source,
            k,
            known.of(method.head, name, k),
            tolerance,
            [row for row in rows if row["k_shot"] == k],
            differs,
            assumed,
            strict=asked.tolerance is not None,
        )
        for k in shots
    ]


def _adapter(method: Method, data: str, asked: Asked) -> str | None:
    """The adapter for a data set: that of the head among those given, or the published one."""
    given = (adapter for adapter in asked.adapters if head_of(adapter) == method.head)
    return next(given, method.adapter.get(data))


def _differs(
    method: Method, one: LocalSet, setup: Setup, adapter: str | None, rows: Sequence[dict]
) -> list[str]:
    """How the protocol differs from the published one, a sentence each."""
    found = [method.differs[one.source.name]] if one.source.name in method.differs else []
    if setup.backbone != method.backbone and not _assumed(method, setup.backbone):
        found.append(f"The backbone is {short(setup.backbone)}, not {method.backbone}.")
    if adapter:
        found += _other_adapter(adapter, method.adapter.get(one.source.name), one.source)
    found += _other_data(one.source, rows)
    for key, usual in (("dtype", "float32"), ("runtime", "torch")):
        if (value := getattr(setup, key)) != usual:
            found.append(f"The {key} is {value}, not {usual}.")
    if lost := len({error for row in rows for error in row["errors"]}):
        found.append(f"{counted(lost, 'image')} could not be read.")
    return found


def _other_adapter(adapter: str, wanted: str | None, source: DataSource) -> list[str]:
    """How an adapter is not the published one."""
    found = read_adapter(find_adapter(adapter))
    auxiliary = shown(found.auxiliary)
    trained = re.sub(r"[^a-z0-9]+", "", found.auxiliary.casefold())
    if source.name in trained:
        return [f"The adapter {found.name} was trained on {auxiliary}, which is measured."]
    if found.name != wanted:
        return [f"The adapter is {found.name}, trained on {auxiliary}, not {wanted}."]
    # its name ends in the data that it was trained on
    if not all(word in trained for word in found.name.split("-")[1:]):
        return [f"The adapter {found.name} says that it was trained on {auxiliary}."]
    return []


def _other_data(source: DataSource, rows: Sequence[dict]) -> list[str]:
    """How what was measured is not the data set that figures are of."""
    here = {row["category"]: row["images"] + row["left_out"] for row in rows}
    found = []
    if missing := [name for name in source.categories if name not in here]:
        which = f": {', '.join(missing)}" if len(missing) <= MOST else ""
        total = len(source.categories)
        found.append(f"{source.title} here lacks {len(missing)} of {total} categories{which}.")
    if further := [name for name in here if name not in source.categories]:
        found.append(f"{source.title} has no category {shown(', '.join(further))}.")
    if not found and (images := sum(here.values())) != source.test_images:
        found.append(f"{source.title} has {source.test_images} test images, here are {images}.")
    return found


def _assumed(method: Method, backbone: str) -> list[str]:
    """MODEL=FILE may hold the published weights, which only the user can know."""
    model, _, file = backbone.rpartition("=")
    if not model or model != method.backbone.partition("/")[0]:
        return []
    return [f"The weights are those in {short(file)}, taken for {method.backbone}."]


def _weights(backbone: str) -> str:
    """Size and licence of the weights of a known backbone, to follow an error."""
    for known in known_backbones():
        if known.name == backbone:
            size = f"{known.size / 1e9:.1f} GB"
            return f" (The weights of {backbone} are about {size}, licence {known.licence}.)"
    return ""
