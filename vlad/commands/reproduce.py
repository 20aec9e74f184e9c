"""vlad reproduce: published figures, measured again by the paper's protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vlad.commands.bench import numbers
from vlad.commands.options import Common, given, make_heads, open_backbone, setup_of
from vlad.commands.options.columns import aligned
from vlad.commands.options.option import option
from vlad.commands.options.sections import SectionedCommand

if TYPE_CHECKING:
    from vlad.evaluation.published import DataSource, Method, Published
    from vlad.evaluation.reproduction import Missing, Reproduction

COMPUTING = ("batch_size", "device", "dtype", "runtime", "cache", "max_pixels")


@click.command(cls=SectionedCommand)
@click.argument("heads", nargs=-1, metavar="[HEAD]...")
@option(
    "--data NAME=DIR",
    "A data set that figures are printed for, as in mvtec=sets/mvtec; may be repeated.",
    "given_data",
    multiple=True,
)
@option("--k-shot K,K,...", "Only these numbers of normal images.  [default: all with figures]")
@option("--seeds N,N,...", "Random seeds for --k-shot.", default="0,1,2")
@option(
    "--tolerance POINTS",
    "Percentage points within which a figure counts as reproduced.  [default: that of the head]",
    type=click.FloatRange(min=0),
)
@given("adapter", "backbone", *COMPUTING)
@option("--out DIR", "Output folder; what is measured in it already is kept.")
@click.pass_context
def reproduce(
    context, heads, given_data, k_shot, seeds, tolerance, adapters, backbone, out, **computing
) -> None:
    """Measure published figures again.

    Each HEAD runs by its paper's protocol, with the paper's backbone, adapter and input size.
    Ours, the paper's and others' figures are printed side by side and written to DIR/reproduced.md;
    the exit code is 1 if one differs by more than the tolerance. AUPRO is shown and not judged,
    since it differs between programs. Without --data, it lists what figures there are.

    \b
    vlad reproduce
    vlad reproduce winclip --data mvtec=sets/mvtec --out runs/winclip
    vlad reproduce winclip musc --data mvtec=mvtec --data visa=visa --k-shot 0 --out runs/again
    """
    from vlad.errors import InputError
    from vlad.evaluation.published import published
    from vlad.evaluation.reproduction import Reproduction, markdown
    from vlad.system.files import atomic_write

    known = published()
    methods = [known.method(head) for head in dict.fromkeys(heads)]
    if not (given_data and methods):
        if given_data or out:
            raise InputError(
                "Figures are of heads on data sets; give both, as in `vlad reproduce winclip "
                "--data mvtec=sets/mvtec --out runs/winclip`."
            )
        click.echo(listing(known, [method.head for method in methods] or list(known.methods)))
        return
    if not out:
        raise InputError("Figures are written to a folder; name one with --out.")
    asked = _Asked(
        numbers("--k-shot", k_shot) if k_shot else None,
        numbers("--seeds", seeds),
        tolerance,
        tuple(adapters),
        backbone,
        Path(out),
        computing,
    )
    sets = [_open(known.data[name], root) for name, root in _pairs(given_data, known).items()]
    found: list[Reproduction | Missing] = []
    for method in methods:
        for one in sets:
            found += _measure(known, method, one, asked)
    for source in known.data.values():
        there = any(source is one.source for one in sets)
        if not there and any(known.shots(method.head, source.name) for method in methods):
            click.echo(f"Not given: {_where(source)}", err=True)
    if not found:
        named = " and ".join(one.source.name for one in sets)
        raise InputError(
            f"There are no figures of {', '.join(heads)} on {named} with these normal images; "
            "choose from those that `vlad reproduce` lists."
        )
    for result in found:
        click.echo(f"\n{result.title}")
        if isinstance(result, Reproduction):
            click.echo(aligned(result.table()))
        click.echo(result.verdict)
    atomic_write(asked.out / "reproduced.md", markdown(found).encode())
    click.echo(f"\nTo post: {asked.out / 'reproduced.md'}")
    measured = [result for result in found if isinstance(result, Reproduction)]
    if not measured:
        raise InputError("No `heads` were measured, for the reasons above; get what is missing.")
    if any(result.outside for result in measured):
        context.exit(1)


def listing(known: Published, heads: Sequence[str]) -> str:
    """The figures that there are, and where their data sets are had."""
    rows = [["head", "data", "normal images", "backbone", "input", "adapter"]]
    for head in heads:
        method = known.methods[head]
        for name in known.data:
            if shots := known.shots(head, name):
                size = f"{method.image_size} px" if method.image_size else "its own"
                adapter = method.adapter.get(name, "–")
                shown = ", ".join(map(str, shots))
                rows.append([head, name, shown, method.backbone, size, adapter])
    return "\n".join([aligned(rows), "", *map(_where, known.data.values())])


@dataclass(frozen=True)
class _Asked:
    """The options; None is the method's own."""

    shots: Sequence[int] | None
    seeds: Sequence[int]
    tolerance: float | None
    adapters: tuple[str, ...]
    backbone: str | None
    out: Path
    computing: Mapping[str, Any]


@dataclass(frozen=True)
class _Set:
    """A data set on this disk."""

    source: DataSource
    root: str
    layout: str
    data: Any


def _open(source: DataSource, root: str) -> _Set:
    """Open a data set, by its own layout where files do not tell it from another."""
    from vlad.datasets import DATASETS, load_dataset
    from vlad.datasets.detect import detect

    layout = detect(root)
    if DATASETS.get(source.name) == DATASETS.get(layout):
        layout = source.name
    return _Set(source, root, layout, load_dataset(layout, root))


def _measure(
    known: Published, method: Method, one: _Set, asked: _Asked
) -> Sequence[Reproduction | Missing]:
    """Measure a head on a data set with all numbers of normal images that have figures."""
    from vlad.adapters import head_of
    from vlad.errors import AdapterError, BackboneError
    from vlad.evaluation.bench import bench
    from vlad.evaluation.reproduction import Missing, Reproduction

    name = one.source.name
    shots = [k for k in known.shots(method.head, name) if asked.shots is None or k in asked.shots]
    if not shots:
        return []
    backbone = asked.backbone or method.backbone
    size = {"image_size": method.image_size, "tile": None, "overlap": None}
    setup = setup_of({**asked.computing, **size, "backbone": backbone})
    try:
        own = tuple(adapter for adapter in asked.adapters if head_of(adapter) == method.head)
        needed = (method.adapter[name],) if name in method.adapter else ()
        common = Common(setup, method.params, own or needed)
        loaded = open_backbone(common, make_heads(method.head, common))
    except (AdapterError, BackboneError) as error:
        return [Missing(method, one.source, f"{error}{_weights(backbone)}")]
    settings = {
        "data": {name: one.root},
        "layout": {name: one.layout},
        "head": method.head,
        "k_shot": shots,
        "seeds": list(asked.seeds),
        "params": list(method.params),
        "adapters": list(common.adapters),
        "backbone": loaded.info.name,
        "weights": loaded.fingerprint[:16],
        "image_size": setup.image_size,
        "dtype": setup.dtype,
        "runtime": setup.runtime,
    }
    rows = bench(
        loaded,
        {name: one.data},
        lambda: make_heads(method.head, common),
        shots,
        asked.seeds,
        asked.out / f"{method.head}-{name}",
        settings,
        layouts={name: one.layout},
        setup=setup,
    )
    tolerance = method.tolerance if asked.tolerance is None else asked.tolerance
    differs = _differs(method, one, asked, rows)
    found = []
    for k in shots:
        own_rows = [row for row in rows if row["k_shot"] == k]
        figures = known.of(method.head, name, k)
        found.append(Reproduction(method, one.source, k, figures, tolerance, own_rows, differs))
    return found


def _differs(method: Method, one: _Set, asked: _Asked, rows: Sequence[dict]) -> list[str]:
    """How the protocol differs from the published one."""
    from vlad.system.text import counted

    found = []
    backbone, wanted = asked.backbone or method.backbone, method.backbone
    # MODEL=FILE has the weights from elsewhere
    if backbone != wanted and backbone.partition("=")[0] != wanted.partition("/")[0]:
        found.append(f"The backbone is {backbone}, not {wanted}.")
    if (here := len(one.data.categories)) != one.source.categories:
        found.append(f"Of {one.source.categories} categories, {here} were measured.")
    for key, usual in (("dtype", "float32"), ("runtime", "torch")):
        if asked.computing[key] != usual:
            found.append(f"The {key} is {asked.computing[key]}, not {usual}.")
    if lost := len({error for row in rows for error in row["errors"]}):
        found.append(f"{counted(lost, 'image')} could not be read.")
    return found


def _pairs(given_data: Sequence[str], known: Published) -> dict[str, str]:
    from vlad.errors import InputError
    from vlad.system.text import instead, shown

    found: dict[str, str] = {}
    for pair in given_data:
        name, equals, root = pair.partition("=")
        if not (equals and root):
            raise InputError(
                f"--data {shown(pair)} names no data set and folder; write it as mvtec=DIR."
            )
        if name not in known.data:
            raise InputError(f"No published figures on {name!r}{instead(name, known.data)}")
        if name in found:
            raise InputError(f"--data names {name} twice; leave one out.")
        found[name] = root
    return found


def _where(source: DataSource) -> str:
    size = f", about {source.gigabytes:g} GB" if source.gigabytes else ""
    return (
        f"{source.name}: {source.title}, {source.categories} categories, {source.licence}{size}; "
        f"{source.where}"
    )


def _weights(backbone: str) -> str:
    """Size and licence of the weights of a known backbone, to follow an error."""
    from vlad.backbones.known import known_backbones

    for known in known_backbones():
        if known.name == backbone:
            size = f"{known.size / 1e9:.1f} GB"
            return f" (The weights of {backbone} are about {size}, licence {known.licence}.)"
    return ""
