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
    suspects_option,
)


@click.command()
@click.argument("given", nargs=-1, required=True, metavar="RUN|NORMALS...")
@detector_option
@option(
    "--labels CSV",
    ("Labels of the images: columns path and label, or severity.  [default: all are normal]"),
)
@option(
    "--target f1|recall=R|precision=P",
    "What the threshold should reach on labelled images.",
    default="f1",
)
@false_alarms_option
@suspects_option
@fuse_option
@confidence_option
@option("--out FILE", "Output file, JSON; --detector needs none.")
def calibrate(
    given, detector, labels, target, false_alarms, suspects, fuse, confidence, out
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
    import os
    from pathlib import Path

    from vlad.calibration import save_calibration
    from vlad.calibration.labels import check_target
    from vlad.datasets.manifest import read_manifest
    from vlad.errors import InputError, OutputError
    from vlad.results.folder import RunFolder
    from vlad.results.verdicts import calibrate_run
    from vlad.system.text import counted

    if detector:
        if labels or fuse or out:
            raise InputError(
                "--labels, --fuse and --out are for runs; leave them out, or calibrate a run."
            )
        _calibrate_detector(detector, given, false_alarms, confidence, suspects)
        return
    if len(given) != 1 or not out:
        raise InputError(
            "One run is calibrated at a time, into a file; name both, the file with --out, or "
            "give normal images with --detector."
        )
    (run,) = given
    check_target(target)
    if Path(out).is_dir():
        raise OutputError(f"cannot write {out}: it is a folder; name a file.")
    folder = RunFolder.open(run)
    if fuse and len(folder.heads) < 2:
        raise InputError(
            f"--fuse combines several heads, but {run} has only {next(iter(folder.heads))}; leave "
            "it out."
        )
    levels = None
    if labels:
        if suspects:
            raise InputError("--suspects is for unlabelled normal images; label the suspects.")
        samples = read_manifest(labels)
        levels = {
            os.path.realpath(s.path): s.label if s.severity is None else s.severity
            for s in samples
            if s.label is not None
        }
        if not levels:
            raise InputError(f"{labels} has no labels; add a column label with 0 or 1.")
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
        if basis := found.basis(name):
            click.echo(basis)
    for note in found.notes:
        click.echo(note)
    click.echo(f"Calibration: {out}")


def _calibrate_detector(folder, given, false_alarms, confidence, suspects) -> None:
    from vlad.datasets import list_samples

    found, _ = open_detector(folder)
    images = [sample.path for sample in list_samples(given)]
    found.calibrate(images, false_alarms, confidence, suspects)
    found.save(folder)
    say_threshold(found)
    click.echo(f"Detector: {folder}")
    say_if_trial(found.backbone_)
