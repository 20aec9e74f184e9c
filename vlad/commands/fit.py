"""vlad fit: a detector from normal images, saved as a folder."""

from __future__ import annotations

from pathlib import Path

import click

from vlad.commands.options import (
    check_known,
    common_options,
    known_defects_option,
    make_detector,
    make_heads,
    open_backbone,
    roi_options,
    say_if_trial,
    say_threshold,
)
from vlad.commands.options.option import option
from vlad.commands.options.sections import SectionedCommand
from vlad.commands.options.verdicts import confidence_option, false_alarms_option, suspects_option
from vlad.errors import OutputError
from vlad.system.text import counted


@click.command(cls=SectionedCommand)
@click.argument("normals", nargs=-1, required=True, metavar="NORMALS...")
@option("--head NAME", "Name of the head.", default="memory")
@option("--category WORDS", "What the images show, for example hazelnut.")
@known_defects_option
@option(
    "--k-shot K",
    "Fit on K images, drawn at random; the others set the threshold.  [default: half "
    "of them, or all if the other half is too small to set a threshold]",
    type=click.IntRange(min=1),
)
@option("--seed N", "Random seed for --k-shot.", type=click.IntRange(min=0), default=0)
@false_alarms_option
@suspects_option
@confidence_option
@roi_options
@common_options
@option(
    "--with-weights",
    "Copy the backbone's weights too, so that the folder alone works without a network.",
)
@option("--out DIR", "Output folder.", required=True)
@option("--overwrite", "Replace the detector in the output folder.")
def fit(
    normals,
    head,
    category,
    known_defects,
    k_shot,
    seed,
    false_alarms,
    suspects,
    confidence,
    common,
    with_weights,
    out,
    overwrite,
) -> None:
    """Fit a detector on normal images and save it.

    The folder works with --detector of other commands, with `vlad serve`, and with
    vlad.Detector.load in Python.

    \b
    vlad fit good/ --k-shot 4 --out detectors/bottle
    vlad score parts/ --detector detectors/bottle --out runs/parts
    vlad serve detectors/bottle
    """
    from vlad.calibration.conformal import least_reference
    from vlad.calibration.holdout import split_normals
    from vlad.datasets import list_samples

    if (Path(out) / "detector.json").exists() and not overwrite:
        raise OutputError(
            f"{out} already holds a detector; add --overwrite to replace it, or choose another "
            "folder."
        )
    paths = [sample.path for sample in list_samples(normals)]
    shown, held_out = split_normals(paths, k_shot, seed, false_alarms)
    heads = make_heads(head, common)
    detector = make_detector(head, category, common)
    if known_defects:  # a detector may learn the first ones from review
        check_known(known_defects, heads)
    detector.backbone_ = open_backbone(common, heads)
    detector.fit(shown, known_defects=known_defects)
    if held_out:
        detector.calibrate(held_out, false_alarms, confidence, suspects)
    detector.save(out, with_weights=with_weights)
    click.echo(f"{head}: {counted(len(shown), 'reference image')}")
    if held_out:
        say_threshold(detector)
    else:
        least = least_reference(false_alarms)
        left = len(paths) - len(shown)
        click.echo(f"No threshold: it needs {least} held-out normal images, and {left} are left.")
    click.echo(f"Detector: {out}")
    say_if_trial(detector.backbone_)
