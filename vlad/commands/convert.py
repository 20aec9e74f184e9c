"""vlad convert: a finished run for labelling and tracking tools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from vlad.commands.options.option import option
from vlad.errors import InputError
from vlad.system.text import counted, shown

if TYPE_CHECKING:
    from vlad.results.formats.findings import Findings

FORMATS = ("coco", "yolo", "yolo-outlines", "labelstudio", "fiftyone")


@click.command()
@click.argument("run", metavar="RUN")
@option("--to", "Format to write.", "form", required=True, type=click.Choice(FORMATS))
@option("--head NAME", "Head whose verdicts and regions count.  [default: fused, else the first]")
@option(
    "--with-images",
    "Copy the images into the output folder, or link to them.",
    "images",
    type=click.Choice(["copy", "link"]),
)
@option(
    "--url-prefix URL",
    "What stands before image names in Label Studio.  [default: its local files]",
)
@option("--out DIR", "Output folder; new or empty.", required=True)
def convert(run, form, head, images, url_prefix, out) -> None:
    """Convert a finished run for COCO, YOLO, Label Studio or FiftyOne.

    RUN is an output of `vlad score` with --threshold. Images, regions, scores and verdicts are
    written; images without regions stay as negatives.

    \b
    vlad convert runs/parts --to coco --out parts-coco
    vlad convert runs/parts --to yolo --with-images link --out parts-yolo
    vlad convert runs/parts --to labelstudio --head memory --out parts-tasks
    """
    from vlad.results.finished import read_finished
    from vlad.results.formats import write_findings
    from vlad.results.formats.findings import findings_of

    if url_prefix is not None and form != "labelstudio":
        raise InputError("--url-prefix is for --to labelstudio; leave it out.")
    finished = read_finished(run)
    found = findings_of(finished, head)
    found = write_findings(found, form, out, images=images, url_prefix=url_prefix)
    for line in (*_lines(found, several=len(finished.verdicts) > 1), *_names(found, form)):
        click.echo(shown(line, keep="\n"))
    click.echo(f"Written: {out}")


def _lines(found: Findings, several: bool) -> Iterator[str]:
    from vlad.results.formats.findings import missing

    if several:
        yield f"Verdicts of {found.judge}, regions of {found.head}; choose others with --head."
    left_out = ", ".join(f"{number} {reason}" for reason, number in found.left_out.items())
    regions = sum(len(image.regions) for image in found.images)
    without = sum(not image.regions for image in found.images)
    yield (
        f"{counted(len(found.images), 'image')}, {without} without regions; "
        f"{counted(regions, 'region')}{f'; left out: {left_out}' * bool(left_out)}"
    )
    if found.normal_regions:
        yield f"{counted(found.normal_regions, 'region')} left out: in images judged normal."
    if gone := missing(found):
        yield f"{counted(len(gone), 'image')} no longer there; the first is {gone[0]}."


def _names(found: Findings, form: str) -> Iterator[str]:
    from vlad.results.formats.findings import escaped, named_otherwise

    if form.startswith("yolo"):
        # a trainer takes an image without a label file of its name for one without defects
        if others := named_otherwise(found):
            yield (
                f"{counted(len(others), 'label file')} not named like the image; the first is of "
                f"{others[0]}. Repeat with --with-images, or rename them before a training."
            )
    elif names := escaped(found):
        yield (
            f"{counted(len(names), 'name')} not UTF-8, so written with escapes that open no file; "
            f"the first is {names[0]}. Repeat with --with-images."
        )
    yield f"Names of images are relative to {found.folder}"
