"""The reasons of a run: its flagged images explained, one at a time, once they are scored."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vlad.errors import HeadError, InputError, VladError
from vlad.reasons import ExplainedRegion, Explanation, explain
from vlad.results.folder import RunFolder
from vlad.results.reasons import (
    PARTS,
    Reasons,
    append_reasons,
    finish_reasons,
    keep_crop,
    read_reasons,
    read_words,
)
from vlad.results.verdicts import Judged
from vlad.runs.settings import Settings
from vlad.runs.words import spoken
from vlad.scoring.boxes import with_found_boxes
from vlad.scoring.panel import Panel
from vlad.system.progress import Progress
from vlad.system.text import counted
from vlad.types import Sample
from vlad.vlm import VLM
from vlad.vlm.words import Words

MOST = 300  # flagged images that are explained, as many as the report has thumbnails
HIGHEST = 20  # images that are explained where nothing says which are flagged
CROPS = 5  # regions of an image whose crops are kept


def check_explained(panel: Panel) -> None:
    """Check that a head of a panel can be explained.

    Raises:
        HeadError: all heads score images jointly.
        InputError: images are cut into tiles.
    """
    if panel.tiling.tile is not None:
        raise InputError(
            "Images cut into tiles are not explained, since each tile has a score of its own; "
            "leave `tile` or `explain` out."
        )
    if len(panel.transductive) == len(panel.heads):
        raise HeadError(
            f"Head {panel.transductive[0]} scores images jointly, so one image has no reasons; "
            "leave `explain` out, or add a head such as memory."
        )


def explain_run(
    panel: Panel,
    folder: RunFolder,
    samples: Sequence[Sample],
    settings: Settings,
    judged: Judged | None,
    vlm: VLM | None = None,
) -> Reasons:
    """Explain the flagged images of a run, or those that score highest, into its folder.

    Images that an earlier command explained are not explained again, unless they or the threshold
    of their maps changed, or words are wanted that they lack.

    Args:
        samples: the images of the run; `judged` says which are flagged, and None that nothing does.
        vlm: is asked about each of them, with what the first head finds.

    Raises:
        OutputError: a file cannot be written.
    """
    wanted, sentence = _wanted(folder, samples, judged)
    heads = [name for name in panel.heads if name not in panel.transductive]
    if panel.transductive:
        sentence += f" {', '.join(panel.transductive)} scores images jointly: no reasons."
    thresholds = {name: judged.map_thresholds.get(name) if judged else None for name in heads}
    before = {
        path: kept
        for path, kept in read_reasons(folder).items()
        if {name: one.get("map_threshold") for name, one in kept.items()} == thresholds
    }
    words = read_words(folder) if vlm else {}
    if vlm:
        before = {p: one for p, one in before.items() if p in words and _by(vlm, words[p])}
    found = {path: before[path] for path in wanted if path in before}
    failures: list[VladError] = []
    learned = _learned(folder, settings)
    waiting = {path: sample for path, sample in wanted.items() if path not in found}

    def explanations() -> Iterator[tuple[Explanation, str | None]]:
        """Of the first head; those of all of them are in `found` by then."""
        for path, sample in waiting.items():
            try:
                own = {
                    name: _explain(panel, name, sample, settings, thresholds[name], learned)
                    for name in heads
                }
                found[path] = {n: _kept(folder, one, thresholds[n]) for n, one in own.items()}
            except VladError as error:  # such as a file that is gone since it was scored
                failures.append(error)
                progress.advance(1, failed=1)
            else:
                yield own[heads[0]], sample.category

    with Progress(len(wanted), "explained", done=len(found)) as progress:
        for one in spoken(vlm, explanations(), len(waiting), progress.say):
            append_reasons(folder, one.name, found[one.name], one.words)
            if one.words is not None:
                words[one.name] = one.words
            progress.advance()
    if failures:
        lost = f"{counted(len(failures), 'image')} could not be explained"
        warnings.warn(f"{lost}; the first: {failures[0]}", stacklevel=2)
        sentence += f" {lost}."
    found = {path: found[path] for path in wanted if path in found}
    words = {path: words[path] for path in found if path in words}
    if silent := sum(bool(one.error) for one in words.values()):
        sentence += f" No answer of the model about {counted(silent, 'image')}."
    finish_reasons(folder, found, words)
    return Reasons(found, sentence, words)


def _by(vlm: VLM, words: Words) -> bool:
    """True if words are an answer of this model."""
    return words.model == vlm.name and not words.error


def _wanted(
    folder: RunFolder, samples: Sequence[Sample], judged: Judged | None
) -> tuple[dict[str, Sample], str]:
    """Path -> the image, of those to explain, highest first; and which these are."""
    scored = {str(s.path): s for s in samples if folder.rows.scored(str(s.path))}
    flagged = {p: s for p, s in scored.items() if p in judged.anomalous} if judged else scored
    best: dict[str, int] = {}  # path -> its best rank under any head
    for head in folder.heads:
        scores = {p: s for p in flagged if (s := folder.rows[p].scores.get(head)) is not None}
        for rank, path in enumerate(sorted(scores, key=lambda p: -scores[p])):
            best[path] = min(rank, best.get(path, rank))
    most = MOST if judged else HIGHEST
    paths = sorted(best, key=lambda path: best[path])[:most]
    among = counted(len(flagged), "flagged image" if judged else "image")
    if not flagged:
        said = "No image is flagged, so none has reasons."
    elif len(paths) < len(flagged):
        said = f"Reasons: the {len(paths)} highest of {among}."
    else:
        said = f"Reasons: {among}."
    if judged is None:
        said += " A threshold would say which are flagged."
    return {path: scored[path] for path in paths}, said


def _learned(folder: RunFolder, settings: Settings) -> Sequence[tuple[str, str]] | None:
    """Name and digest of each normal image in the order in which heads were shown them."""
    digests = folder.settings["references"]
    own = [(path, digests[path]) for path in (str(s.path) for s in settings.references)]
    return own or settings.normals


def _explain(
    panel: Panel,
    head: str,
    sample: Sample,
    settings: Settings,
    threshold: float | None,
    learned: Sequence[tuple[str, str]] | None,
) -> Explanation:
    open_image = settings.setup.open_image
    if settings.box_model and panel.heads[head].boxes:
        (sample,) = with_found_boxes(panel, [sample], settings.box_model, open_image)
    return explain(
        panel,
        open_image(sample.path),
        name=str(sample.path),
        head=head,
        category=sample.category,
        threshold=threshold,
        learned=learned,
        open_image=open_image,
        boxes=sample.boxes,
    )


def _kept(folder: RunFolder, one: Explanation, threshold: float | None) -> Mapping[str, Any]:
    """An explanation as reasons.jsonl holds it, with its crops in files."""
    told = one.as_dict()
    for place, (values, region) in enumerate(zip(told["regions"], one.regions, strict=True)):
        values |= _crops(folder, region) if place < CROPS else dict.fromkeys(PARTS)
    return {**told, "map_threshold": threshold}


def _crops(folder: RunFolder, region: ExplainedRegion) -> dict[str, str | None]:
    crops = {key: getattr(region, key) for key in PARTS}
    return {key: keep_crop(folder, crop) if crop else None for key, crop in crops.items()}
