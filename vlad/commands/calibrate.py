"""vlad calibrate: thresholds from the scores of a finished run, for other runs."""

from __future__ import annotations

import click

from vlad.commands.options import say_if_trial, say_threshold
from vlad.commands.options.detector import detector_option, open_detector
from vlad.commands.options.option import option
from vlad.commands.options.verdicts import (
    confidence_option,
    false_alarms_option,
    fuse_option,
    holdout_option,
    suspects_option,
)
from vlad.errors import InputError
from vlad.system.text import and_more, counted, shown


@click.command()
@click.argument("given", nargs=-1, required=True, metavar="RUN|NORMALS...")
@detector_option
@option(
    "--labels CSV",
    ("Labels of the images: columns path and label, or severity.  [default: all are normal]"),
)
@option(
    "--target f1|recall=R|precision=P",
    "What the threshold should reach on labelled images.  [default: f1]",
)
@option(
    "--miss-cost C",
    "Least false alarms + C × missed defects on labelled images, in place of --target.",
    type=click.FloatRange(min=0, min_open=True),
)
@false_alarms_option
@suspects_option
@holdout_option
@fuse_option
@confidence_option
@option("--out FILE", "Output file, JSON; --detector needs none.")
def calibrate(
    given,
    detector,
    labels,
    target,
    miss_cost,
    false_alarms,
    suspects,
    holdouts,
    fuse,
    confidence,
    out,
) -> None:
    """Set thresholds from a finished run, or those of a detector.

    RUN is the output of `vlad score` over normal or labelled images. With --detector, NORMALS are
    normal images that it was not fitted on, and the detector keeps the threshold.

    \b
    vlad score more-good/ --normal good/ --k-shot 4 --out runs/good
    vlad calibrate runs/good --false-alarms 0.02 --out line.json
    vlad score parts/ --normal good/ --k-shot 4 --calibration line.json --out runs/parts
    vlad calibrate good-of-today/ --detector detectors/bottle
    """
    from vlad.calibration import save_calibration
    from vlad.calibration.counts import counts
    from vlad.calibration.labels import check_target
    from vlad.results.calibrate import calibrate_run
    from vlad.results.levels import read_levels
    from vlad.results.partitions.run import open_run
    from vlad.system.files import check_file

    check_target(target or "f1")
    if (target or miss_cost) and not labels:
        said = "--target" if target else "--miss-cost"
        raise InputError(f"{said} is for labelled images; add --labels, or leave it out.")
    if target and miss_cost:
        raise InputError("--target and --miss-cost both choose the threshold; leave one out.")
    if detector:
        if labels or fuse or out:
            raise InputError(
                "--labels, --fuse and --out are for runs; leave them out, or calibrate a run."
            )
        _calibrate_detector(detector, given, false_alarms, confidence, suspects, holdouts)
        return
    if holdouts:
        raise InputError(
            "--holdout-normal needs a detector to score with; add --detector, or give it to `vlad "
            "score`."
        )
    if len(given) != 1 or not out:
        raise InputError(
            "One run is calibrated at a time, into a file; name both, the file with --out, or "
            "give normal images with --detector."
        )
    (run,) = given
    target = f"miss-cost={miss_cost}" if miss_cost else target or "f1"
    check_file(out)
    folder = open_run(run)
    if fuse and len(folder.heads) < 2:
        raise InputError(
            f"--fuse combines several heads, but {run} has only {next(iter(folder.heads))}; leave "
            "it out."
        )
    levels = None
    if labels:
        if suspects:
            raise InputError("--suspects is for unlabelled normal images; label the suspects.")
        levels, unknown = read_levels(labels, folder)
        if unknown:
            click.echo(
                f"{counted(len(unknown), 'labelled image')} without a score in {run} left out: "
                f"{shown(and_more(unknown, 3))}"
            )
    found = calibrate_run(
        folder,
        levels,
        target=target,
        false_alarms=false_alarms,
        suspects=suspects,
        method=fuse,
        confidence=confidence,
    )
    save_calibration(found, out)
    count = len(next(iter(found.reference.values())))
    for name, threshold in found.thresholds.items():
        click.echo(
            f"{name}: anomalous above {threshold:.6g}, from {counted(count, 'normal image')}"
        )
        for said in filter(None, (*counts(found, name), found.basis(name))):
            click.echo(said)
    for note in found.notes:
        click.echo(note)
    click.echo(f"Calibration: {out}")


def _calibrate_detector(folder, given, false_alarms, confidence, suspects, holdouts) -> None:
    from vlad.datasets import list_samples

    found, _ = open_detector(folder)
    images = [sample.path for sample in list_samples(given)]
    other = [sample.path for sample in list_samples(holdouts)] if holdouts else None
    found.calibrate(images, false_alarms, confidence, suspects, other)
    kept = found.replace(folder)
    say_threshold(found)
    click.echo(f"Detector: {folder} (the earlier threshold is kept as version {kept})")
    say_if_trial(found.backbone_)
