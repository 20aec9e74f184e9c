"""vlad diff: what changed between two finished runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from vlad.commands.options.columns import aligned
from vlad.commands.options.option import option
from vlad.system.text import counted, shown

if TYPE_CHECKING:
    from vlad.results.difference import Change, Difference, HeadDifference

_SHOWN = 5  # images of a head; all are in diff.csv


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@option("--out DIR", "Also write diff.csv, diff.json and diff.html; an earlier diff is replaced.")
def diff(first, second, out) -> None:
    """Compare two finished runs, image by image.

    A and B are outputs of `vlad score` or `vlad watch` over some of the same images. Settings that
    differ come first, then ranks and verdicts of each head that both have.

    \b
    vlad diff runs/monday runs/tuesday
    vlad diff runs/4-shot runs/8-shot --out runs/diff
    """
    from vlad.results.difference import compare_runs
    from vlad.results.finished import read_finished

    a, b = read_finished(first), read_finished(second)
    found = compare_runs(a, b)
    for line in _lines(found):
        click.echo(shown(line, keep="\n"))
    if out:
        from vlad.report.difference import write_difference

        click.echo(f"Difference: {write_difference(out, a, b, found)}")


def _lines(found: Difference) -> Iterator[str]:
    if found.settings:
        rows = [[name, *values] for name, values in found.settings.items()]
        yield aligned([["setting", "A", "B"], *rows])
    else:
        yield "No setting differs."
    yield ""
    left_out = ", ".join(f"{number} {reason}" for reason, number in found.reasons.items())
    yield f"{counted(found.compared, 'image')} compared{f'; left out: {left_out}' * bool(left_out)}"
    yield from found.notes
    rows = [[name, *_figures(head)] for name, head in found.heads.items()]
    heading = ["head", "images", "Spearman", "Kendall", "mean change", "verdicts changed"]
    yield aligned([heading, *rows])
    for name, head in found.heads.items():
        changed = [change for change in head.changes if change.flipped or change.moved]
        if changed:
            yield f"\nLargest changes of {name}:"
            cells = [_cells(change, head) for change in changed[:_SHOWN]]
            verdict = ["verdict A", "verdict B"] if head.judged else []
            yield aligned([["rank A", "rank B", "score A", "score B", *verdict, "image"], *cells])


def _figures(head: HeadDifference) -> list[str]:
    flips = [f"{number} {one} to {two}" for (one, two), number in head.flips.most_common()]
    return [
        str(len(head.changes)),
        *("-" if value is None else f"{value:.3f}" for value in (head.spearman, head.kendall)),
        "-" if head.mean_change is None else f"{head.mean_change:+.4g}",
        (", ".join(flips) or "none") if head.judged else "-",
    ]


def _cells(change: Change, head: HeadDifference) -> list[str]:
    words = [word or "-" for word in change.verdicts] if head.judged else []
    scores = [f"{score:.4g}" for score in change.scores]
    return [*map(str, change.ranks), *scores, *words, change.paths[0]]
