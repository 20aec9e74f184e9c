"""vlad review: which images to look at, and what a detector learns from what people say of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vlad.commands.options import given, say_if_trial
from vlad.commands.options.detector import open_detector
from vlad.commands.options.option import option
from vlad.errors import InputError, OutputError
from vlad.system.text import counted, shown

if TYPE_CHECKING:
    from vlad.review.applied import Applied
    from vlad.review.labels import Label

_SHOWN = 20  # verdicts that change


@click.group()
def review() -> None:
    """Learn from what people say about images."""


@review.command("list")
@click.argument("run", metavar="RUN")
@option(
    "--order",
    "Highest scores first, or those near the threshold and unlike each other; that needs a run "
    "with verdicts.",
    type=click.Choice(["worst", "informative"]),
    default="worst",
)
@option("--show N", "Number of images.", type=click.IntRange(min=1), default=20)
@option("--out FILE", "Also write them as CSV, with a column label to fill in.")
def list_images(run, order, show, out) -> None:
    """List the images of a finished run that are worth a look.

    Of several heads, the fused score decides, or that of the first head.

    \b
    vlad review list runs/parts --order informative --out labels.csv
    """
    from vlad.commands.options.columns import aligned
    from vlad.results.finished import read_finished
    from vlad.results.informative import informative_paths
    from vlad.review.labels import write_labels

    found = read_finished(run)
    name = next((x for x in ("fused", *found.folder.heads) if found.scores.get(x)), None)
    if name is None:
        raise InputError(f"No image of {run} has a score; give another run.")
    scores, verdicts = found.scores[name], found.verdicts.get(name, {})
    if order == "worst":
        paths = sorted(scores, key=lambda path: -scores[path])[:show]
    elif name not in found.thresholds:
        raise InputError(
            f"{run} has no threshold to be near to; score with --normal or --detector, or use "
            "--order worst."
        )
    elif not (paths := informative_paths(found.folder, scores, found.thresholds[name], show)):
        raise InputError(
            f"{run} does not hold how its images look, which --order informative needs; score "
            "again without Ray, or use --order worst."
        )
    rows = [[f"{scores[x]:.4g}", verdicts.get(x) or "-", shown(x)] for x in paths]
    click.echo(aligned([[name, "verdict", "image"], *rows]))
    if out:
        click.echo(f"Labels to fill in: {write_labels(_unlabelled(paths), out)}")


def _unlabelled(paths: Iterable[str]) -> Iterator[Label]:
    from vlad.review.labels import Label
    from vlad.scoring.record import digest_of

    for path in paths:
        yield Label(path, "", digest=digest_of(path) if Path(path).is_file() else "")


@review.command()
@click.argument("labels", metavar="LABELS.CSV")
@option("--detector DIR", "The detector that learns from the labels.", required=True)
@option("--out DIR", "Output folder; that of --detector replaces it and keeps the earlier version.")
@option("--images DIR", "Where the images lie, if not where they were labelled.")
@option("--dry-run", "Only say what would change.")
@given("device")
def apply(labels, detector, out, images, dry_run, device) -> None:
    """Have a detector learn from labels, and set its threshold again.

    LABELS.CSV is from the report, the service or `vlad review list`. Good images become reference
    images, defects become known defects if the head is labelled, and about one image in four is set
    aside for the threshold and for counting. What changes is said before anything is written.

    \b
    vlad review apply labels.csv --detector detectors/bottle --out detectors/bottle
    """
    from vlad.detector.files import WEIGHTS
    from vlad.review.applied import apply_labels
    from vlad.review.files import find_files
    from vlad.review.labels import read_labels
    from vlad.review.merging import settled

    if not out and not dry_run:
        raise InputError("The new detector needs a folder; name it with --out, or add --dry-run.")
    in_place = bool(out) and Path(out).resolve() == Path(detector).resolve()
    if out and not in_place and (Path(out) / "detector.json").exists():
        raise OutputError(
            f"{out} already holds a detector; choose another folder, or that of --detector."
        )
    folders = [Path(images)] if images else []
    reviewed = find_files(settled(read_labels(labels)), [*folders, Path(labels).parent])
    found, _ = open_detector(detector)
    inside = str(Path(detector) / WEIGHTS) in found.backbone
    done = apply_labels(found, reviewed, folders)
    for line in _lines(done, found.head_.name):
        click.echo(line)
    if dry_run:
        click.echo("Nothing was written.")
    elif in_place:
        kept = found.replace(detector)
        click.echo(f"Detector: {detector} (the earlier one is kept as version {kept})")
    else:
        found.save(out, with_weights=inside)
        click.echo(f"Detector: {out}")
    say_if_trial(found.backbone_)


@review.command()
@click.argument("files", nargs=-1, required=True, metavar="LABELS.CSV...")
@option(
    "--prefer",
    "Which label decides where several contradict each other.  [default: none does]",
    type=click.Choice(["latest"]),
)
@option("--out FILE", "Output file, CSV.", required=True)
def merge(files, prefer, out) -> None:
    """Merge the labels of several people into one label an image.

    \b
    vlad review merge anna.csv ben.csv --prefer latest --out labels.csv
    """
    from vlad.review.labels import read_labels, write_labels
    from vlad.review.merging import about_each, contradict, in_words, joined, settled

    labels = joined({file: read_labels(file) for file in files})
    groups = about_each(labels)
    for group in groups:
        if contradict(group):
            click.echo(f"contradiction: {in_words(group)}")
    found = settled(labels, prefer == "latest")
    write_labels(found, out)
    several = sum(len(group) > 1 for group in groups)
    click.echo(f"{counted(len(found), 'image')} labelled, {several} of them by several people")
    click.echo(f"Labels: {out}")


def _lines(done: Applied, head: str) -> Iterator[str]:
    """What labels change."""
    from vlad.calibration.counts import counts
    from vlad.review.applied import ASIDE, COPY, DEFECT, HELD, KNOWN, NOT_LEARNED, REFERENCE

    def sides(*roles: str) -> str:
        good, bad = (len(done.of(*roles, defective=x)) for x in (False, True))
        return f"{good} good, {counted(bad, 'defect')}"

    roles = dict.fromkeys(x.role for x in done.outcomes)
    yield f"{counted(len(done.outcomes), 'labelled image')}: {sides(*roles)}"
    for role, said in (
        (REFERENCE, "added to the reference images"),
        (DEFECT, "added to the known defects"),
        (ASIDE, "set aside for the threshold and for counting"),
        (HELD, "among the held-out images already"),
        (KNOWN, "learned before, left as they are"),
        (COPY, "copies of others, left out"),
    ):
        if role in roles:
            yield f"  {said}: {sides(role)}"
    if done.taken_out:
        count = counted(len(done.taken_out), "held-out image")
        yield f"  {count} with a defect no longer set the threshold"
    if done.before and done.before.holdout:
        yield "Good images of another day are no longer counted: name them to `vlad calibrate`."
    before, after = (x.thresholds[head] if x else None for x in (done.before, done.after))
    words = [f"{x:.6g}" if x is not None else "none" for x in (before, after)]
    yield f"Threshold: {words[0]} before, {words[1]} after"
    if done.after is None:
        return
    yield from counts(done.after, head)
    new = [role for role in roles if role != KNOWN]
    for time, said, compared in (
        (0, "Before, labelled images", new),
        (0, "Before, those that the head has not learned", NOT_LEARNED),
        (1, "After, those that the head has not learned", NOT_LEARNED),
    ):
        if done.of(*compared) and (time or before is not None):
            yield f"{said}: {_confusion(done, time, compared)}"
    flips = [x for x in done.outcomes if before is not None and x.anomalous[0] != x.anomalous[1]]
    yield f"{counted(len(flips), 'verdict')} of labelled images change{'s' * (len(flips) == 1)}"
    for x in flips[:_SHOWN]:
        moved = " to ".join("anomalous" if one else "normal" for one in x.anomalous)
        learned = "" if x.role in NOT_LEARNED else f", {x.role}"
        yield f"  {moved}: {x.reviewed.label.path} ({x.reviewed.label.label}{learned})"
    if len(flips) > _SHOWN:
        yield f"  and {len(flips) - _SHOWN} more"


def _confusion(done: Applied, time: int, roles: Iterable[str]) -> str:
    said = []
    for defective, noun, verb in (
        (False, "good image", "would alarm"),
        (True, "defect", "would be missed"),
    ):
        if images := done.of(*roles, defective=defective):
            wrong = sum(x.anomalous[time] != defective for x in images)
            # said so, since their alarms are no evidence: the threshold was chosen by them
            which = ", which set the threshold," if time and not defective else ""
            said.append(f"of {counted(len(images), noun)}{which} {wrong} {verb}")
    return "; ".join(said)
