"""vlad detector: what a saved detector is, and what it was before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vlad.commands.options.columns import aligned, megabytes
from vlad.errors import InputError
from vlad.system.text import counted, shown

if TYPE_CHECKING:
    from vlad.detector import Detector
    from vlad.detector.versions import Version


@click.group()
def detector() -> None:
    """Say what a saved detector is, and bring back what it was."""


@detector.command()
@click.argument("folder", metavar="DIR")
def show(folder: str) -> None:
    """Say what a detector is, what it was fitted and calibrated on, and what it rests on.

    Its backbone is not loaded.

    \b
    vlad detector show detectors/bottle
    """
    from vlad.detector import Detector

    found, path = Detector.load(folder), Path(folder)
    rows = [*facts(found, path), *_versions(path)]
    click.echo(aligned([[name, shown(value, keep=" ")] for name, value in rows]))


@detector.command()
@click.argument("folder", metavar="DIR")
@click.argument("version", type=click.IntRange(min=1), required=False, metavar="[N]")
def restore(folder: str, version: int | None) -> None:
    """Put back an earlier version of a detector: N of `vlad detector show`, or the latest.

    What it replaces is kept as a version too.

    \b
    vlad detector restore detectors/bottle
    """
    from vlad.detector.versions import restore_version

    restored, kept = restore_version(Path(folder), version)
    click.echo(f"Version {restored} is back in {folder}; what was there is version {kept}.")


def facts(found: Detector, folder: Path) -> Iterator[tuple[str, str]]:
    """Each fact, and what it is about."""
    from vlad.calibration.counts import counts
    from vlad.detector.files import WEIGHTS
    from vlad.detector.learned import MARKED
    from vlad.detector.replacing import own_files

    setup, head = found.setup, found.head_
    yield "head", head.name
    for name, value in (found.head_params or {}).items():
        yield f"  {name}", str(value)
    inside = str(folder / WEIGHTS) in setup.backbone
    yield "backbone", f"{setup.backbone}{' (its weights are inside)' if inside else ''}"
    if found.weights_:
        yield "  digest", found.weights_[:16]
    for name in ("category", "image_size", "tile", "guide", "ignore", "directions"):
        if (value := getattr(found, name)) is not None:
            yield name.replace("_", " "), getattr(value, "name", str(value))
    if head.bank:
        bank = setup.bank or head.bank
        yield "prompt bank", bank if isinstance(bank, str) else bank.name
    if region := setup.region:
        part = region.mask.mean()
        yield "region of interest", f"{part:.0%} of images like {region.size[0]}×{region.size[1]}"
    learned = [name for name in found.learned_ if not name.endswith(MARKED)]
    yield "fitted on", counted(len(learned), "image") if learned else "no images"
    for name in learned[:3]:
        yield "", name
    if len(learned) > 3:
        yield "", f"and {len(learned) - 3} more"
    calibration = getattr(found, "calibration_", None)
    if calibration is None:
        yield "threshold", "none: calibrate it with `vlad calibrate --detector`"
    else:
        name = head.name
        count = counted(len(calibration.reference[name]), "held-out normal image")
        yield "threshold", f"{calibration.thresholds[name]:.6g}, from {count}"
        said = (*counts(calibration, name), calibration.basis(name), *calibration.notes)
        for note in filter(None, said):
            yield "", note
    size = sum(file.stat().st_size for file in own_files(folder))
    yield "size", megabytes(size)


def _versions(folder: Path) -> Iterator[tuple[str, str]]:
    from vlad.detector.replacing import numbers
    from vlad.detector.versions import read_version

    for place, number in enumerate(numbers(folder)):
        try:
            said = _version(read_version(folder, number))
        except InputError as error:  # which does not touch the detector that is in use
            said = f"{number}: cannot be restored ({error})"
        yield "earlier versions" if not place else "", said


def _version(version: Version) -> str:
    known = version.calibration
    threshold = "no threshold"
    if known:
        (value,) = known.thresholds.values()  # of the head that the version has
        threshold = f"threshold {value:.6g}"
    images = counted(version.learned, "learned image")
    return f"{version.number}: saved {version.time:%Y-%m-%d %H:%M} UTC, {images}, {threshold}"
