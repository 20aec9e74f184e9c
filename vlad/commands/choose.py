"""vlad choose: which of a few heads suits these parts, as far as the images given can tell."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from vlad.commands.options import Common, given, open_backbone, say_if_trial, setup_of
from vlad.commands.options.columns import aligned
from vlad.commands.options.option import option
from vlad.commands.options.scoring import ScoringCommand
from vlad.errors import InputError
from vlad.system.text import and_more, counted, shown

if TYPE_CHECKING:
    from vlad.evaluation.choice import Choice
    from vlad.evaluation.comparison import Compared

STRANGE = 6  # robust standard deviations above the median, beyond which a normal image is named
READING = (
    *("backbone", "image_size", "tile", "overlap", "batch_size", "device", "dtype", "runtime"),
    *("max_pixels", "bits"),
)


@click.command(cls=ScoringCommand)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@option(
    "--normal DIR|FILES",
    "Normal images to compare with; may be repeated.",
    "normals",
    multiple=True,
    required=True,
)
@option(
    "--defects DIR|FILES",
    "Images with defects; with fewer than 8 no head is chosen. May be repeated.",
    "defects",
    multiple=True,
)
@option("--category WORDS", "What the images show, for example hazelnut.")
@given(*READING)
@click.pass_context
def choose(context, paths, normals, defects, category, **reading) -> None:
    """Compare a few heads on your images, and choose one.

    PATH is what you want to score: files, folders, patterns or CSV manifests. Every head scores
    normal images that it was not fitted on (at least 4 are needed), the defects, and some of the
    images at PATH.

    \b
    vlad choose parts/ --normal good/ --defects bad/
    vlad choose parts/ --normal good/ --defects bad/ --category hazelnut
    """
    from vlad.datasets import list_samples
    from vlad.datasets.defects import list_defects
    from vlad.evaluation.choice import candidates, choose
    from vlad.evaluation.comparison import LEAST_NORMALS, compare

    parts, good = list_samples(paths), list_samples(normals)
    if wrong := [sample.path for sample in good if sample.label]:
        raise InputError(
            f"{counted(len(wrong), 'image')} given with --normal but labelled anomalous: "
            f"{and_more(wrong, 3)}; correct the label, or leave them out."
        )
    if len(good) < LEAST_NORMALS:
        raise InputError(
            f"Heads are compared on normal images left out in turn, which takes {LEAST_NORMALS} of "
            f"them, got {len(good)}; give more with --normal, or score with the default head, "
            "which takes one."
        )
    bad = list_defects(defects) if defects else []
    setup = setup_of(reading)
    backbone = open_backbone(Common(setup, (), ()), {})
    words = category is not None and backbone.info.has_text
    found = compare(backbone, candidates(words), setup, good, bad, parts, category)
    for path, error in found.errors.items():
        click.echo(shown(f"Left out {path}: {error}", keep="\n"), err=True)
    for note in found.notes:
        click.echo(shown(note, keep=" "), err=True)
    if category and not words:
        click.echo(f"{backbone.info.name} reads no text: --category has no effect.", err=True)
    result = choose(found.scores)
    click.echo(table(result, found))
    click.echo(verdict(result, found))
    if result.pick:
        click.echo(_command(context, result.pick))
    say_if_trial(backbone)


def table(choice: Choice, found: Compared) -> str:
    """A line for each head."""
    judged = choice.pick is not None
    some = choice.rows[0].found is not None
    head = ["head", *(["image AUROC", "95 % interval"] if judged else [])]
    head += ["found"] if some else []
    head += ["drawn defects", "flagged", "strangest", "agreement", "time"]
    rows = [head]
    for row in choice.rows:
        cells = [row.head]
        if row.auroc is not None and row.interval is not None:
            cells += [
                f"{100 * row.auroc:.1f}",
                f"{100 * row.interval.low:.1f} to {100 * row.interval.high:.1f}",
            ]
        if row.found is not None:
            cells.append(f"{round(row.found * found.defects)} of {found.defects}")
        cells += [
            f"{100 * row.drawn:.1f}",
            f"{round(row.flagged * found.parts)} of {found.parts}",
            f"{row.strangest:.1f}",
            f"{row.agreement:.2f}",
            f"{1000 * row.seconds:.0f} ms",
        ]
        rows.append(cells)
    return aligned(rows)


def verdict(choice: Choice, found: Compared) -> str:
    """What the table means."""
    from vlad.calibration.conformal import ceiled
    from vlad.evaluation.choice import LEAST_DEFECTS

    count = counted(len(found.normals), "normal image")
    rate = f"{100 * ceiled(choice.rate):g} %"
    lines = [
        f"From {count}, each scored by heads that were not fitted on it. found, flagged: above a "
        f"threshold that flags at most {rate} of normal images. drawn defects: "
        "AUROC of defects drawn on the normal images, a proxy that chooses nothing."
    ]
    if (first := choice.rows[0]).strangest > STRANGE:
        odd = shown(found.normals[found.scores[first.head].normal.argmax()])
        lines.append(
            f"{odd} is a strange normal image for {first.head}; if it has a defect, remove it and "
            "compare again."
        )
    if choice.margin is None or choice.span is None:
        there = f"{'is' if found.defects == 1 else 'are'} {found.defects or 'none'}"
        lines.append(
            f"No head is chosen: that takes {LEAST_DEFECTS} images with defects, and there {there};"
            " give more with --defects. Without a choice, vlad score uses memory."
        )
        return "\n".join(lines)
    low, high = 100 * choice.span.low, 100 * choice.span.high
    lines.append(
        f"{first.head} is {100 * choice.margin.value:.1f} points above {choice.rows[1].head} on "
        f"the same images (95 % interval {low:.1f} to {high:.1f}, p {choice.margin.p:.2g})."
    )
    if first.interval is not None and first.interval.low <= 0.5:
        lines.append(
            "No head is shown to see these defects: the interval of the best one holds chance, "
            "50. Try another --backbone, --image-size or --tile."
        )
    if len(choice.level) > 1:
        cheapest = min(
            (row for row in choice.rows if row.head in choice.level), key=lambda row: row.seconds
        )
        level = f"{', '.join(choice.level[:-1])} and {choice.level[-1]}"
        lines.append(
            f"The images do not tell {level} apart beyond the noise. The cheapest of them is "
            f"{cheapest.head}, {1000 * cheapest.seconds:.0f} ms an image; the command takes "
            f"{choice.pick}, which is the best guess."
        )
    return "\n".join(lines)


def _command(context: click.Context, head: str) -> str:
    """The command line that scores with a head, with the options given here that it takes."""
    from click.core import ParameterSource

    words = ["vlad", "score", *context.params["paths"]]
    for param in context.command.params:
        name = param.name or ""
        named = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if isinstance(param, click.Option) and named and name != "defects":
            values = context.params[name]
            for value in values if param.multiple else (values,):
                words += [param.opts[0], str(value)]
    return shlex.join([*words, "--head", head, "--out", "runs/parts"])
