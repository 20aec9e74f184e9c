"""vlad reproduce: published figures, measured again by the paper's protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vlad.commands.bench import numbers
from vlad.commands.options import given, quiet_open_clip, setup_of
from vlad.commands.options.columns import aligned
from vlad.commands.options.option import option
from vlad.commands.options.sections import SectionedCommand
from vlad.errors import InputError
from vlad.system.text import instead, shown

if TYPE_CHECKING:
    from vlad.evaluation.published import DataSource, Method, Published
    from vlad.evaluation.reproduction import Missing

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
    the exit code is 1 if one differs by more than the tolerance, and 2 if none can be judged.
    AUPRO is shown and not judged, since it differs between programs. Without --data, it lists what
    figures there are.

    \b
    vlad reproduce
    vlad reproduce winclip --data mvtec=sets/mvtec --out runs/winclip
    vlad reproduce winclip musc --data mvtec=mvtec --data visa=visa --k-shot 0 --out runs/again
    """
    from vlad.evaluation.published import published
    from vlad.evaluation.reproduce import Asked, check_adapters, measure, open_set
    from vlad.evaluation.reproduction import Reproduction, markdown
    from vlad.system.files import atomic_write, check_writable

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
    if tolerance is not None and not isfinite(tolerance):
        raise InputError(f"--tolerance {tolerance} is not a number of points; give one, such as 1.")
    asked = Asked(
        setup_of({**computing, "tile": None, "overlap": None}),
        Path(out),
        numbers("--seeds", seeds),
        numbers("--k-shot", k_shot) if k_shot else None,
        tolerance,
        tuple(adapters),
        backbone,
    )
    check_adapters(methods, asked)
    check_writable(asked.out)
    quiet_open_clip()
    sets = [open_set(known.data[name], root) for name, root in _pairs(given_data, known).items()]
    lacking = list(_lacking(known, methods, [one.source for one in sets], asked.shots))
    found: list[Reproduction | Missing] = []
    for method in methods:
        for one in sets:
            fresh = measure(known, method, one, asked)
            found += fresh
            for result in fresh:
                click.echo(f"\n{result.title}")
                if isinstance(result, Reproduction):
                    click.echo(aligned(result.table()))
                click.echo(result.verdict)
                if result.method.note:
                    click.echo(result.method.note)
            if fresh:  # what is finished outlasts an error in a later head
                atomic_write(asked.out / "reproduced.md", markdown(found).encode())
    for source in known.data.values():
        there = any(source is one.source for one in sets)
        if not there and any(known.shots(method.head, source.name) for method in methods):
            click.echo(f"Not given: {_where(source)}", err=True)
    if not found:
        raise InputError(
            f"There are no figures of {', '.join(lacking)}; choose from those that `vlad "
            "reproduce` lists."
        )
    for words in lacking:
        click.echo(f"No figures: {words}", err=True)
    click.echo(f"\nTo post: {asked.out / 'reproduced.md'}")
    measured = [result for result in found if isinstance(result, Reproduction)]
    if not measured:
        raise InputError("No `heads` were measured, for the reasons above; get what is missing.")
    if any(result.outside for result in measured):
        context.exit(1)
    if not any(result.judged for result in measured):
        raise InputError(
            "No `heads` were judged, for the reasons above; get what the published protocol needs."
        )


def _lacking(
    known: Published,
    methods: Sequence[Method],
    sources: Sequence[DataSource],
    shots: Sequence[int] | None,
) -> Iterator[str]:
    """What is asked for and has no figures."""
    for method in methods:
        for source in sources:
            there = known.shots(method.head, source.name)
            what = f"{method.head} on {source.name}"
            if not there:
                yield what
            elif lost := [k for k in shots or () if k not in there]:
                yield f"{what} with {', '.join(map(str, lost))} normal images"


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


def _pairs(given_data: Sequence[str], known: Published) -> dict[str, str]:
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
    categories = f"{len(source.categories)} categories"
    return f"{source.name}: {source.title}, {categories}, {source.licence}{size}; {source.where}"
