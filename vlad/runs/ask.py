"""A question put to a set of images: their order by how much better its sentences fit."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vlad.backbones.backbone import Backbone
from vlad.errors import InputError
from vlad.heads.winclip import WinCLIP
from vlad.prompts.categories import fold
from vlad.prompts.question import Asked
from vlad.results.seen import read_seen
from vlad.runs.run import run
from vlad.runs.settings import Settings
from vlad.scoring.pipeline import score_samples
from vlad.scoring.setup import Setup
from vlad.scoring.unrelated import Spread, spread_of
from vlad.system.files import atomic_write
from vlad.system.progress import Progress
from vlad.system.text import shown
from vlad.types import BackboneInfo, FeatureSpec, Sample

HEAD = "winclip"
BANK = "question.toml"  # in the folder of a run
ANSWERS = "answers.jsonl"  # of a vision-language model, a line an image


@dataclass(frozen=True)
class Ranking:
    """Images in the order of how well a question fits them.

    Attributes:
        margins: path -> cosine with the sentences for the question minus that with those against
            it, largest first.
        errors: path -> why it has none.
        spread: how far apart they are; None of a single image.
        report: the page of the run, if it was kept.
    """

    margins: Mapping[str, float]
    errors: Mapping[str, str]
    spread: Spread | None
    report: Path | None = None


def ask(
    backbone: Backbone,
    asked: Asked,
    samples: Sequence[Sample],
    setup: Setup,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Ranking:
    """Rank images by a question, with WinCLIP's comparison of image and text.

    Args:
        out: folder to keep as one of `vlad score`, with maps, a report and the prompt bank; None
            keeps nothing, and computes no maps.

    Raises:
        InputError: no image can be read.
        VladError: as `vlad.runs.run.run`.
    """
    setup = replace(setup, bank=asked.bank)
    samples = [_without_category(sample, asked.thing) for sample in samples]
    found = _Found({}, {}, {})
    report = None
    if out is None:
        _score(backbone, samples, setup, found)
    else:
        done = run(
            backbone,
            {HEAD: WinCLIP()},
            samples,
            Settings(setup),
            out,
            resume=resume,
            overwrite=overwrite,
        )
        atomic_write(Path(out) / BANK, asked.bank.content)
        report = done.report
        for row in done.folder.rows.values():
            if row.error:
                found.errors[row.path] = row.error
            else:
                found.scores[row.path] = row.scores[HEAD]
        seen = read_seen(done.folder)
        found.embeddings.update({path: one.embedding for path, one in seen.items()})
    return _ranking(backbone, asked, found, report)


def _without_category(sample: Sample, thing: str) -> Sample:
    """The sample as part of one question, which is about the same thing in all images."""
    if sample.category and fold(sample.category) != fold(thing):
        said = shown(sample.category)
        warnings.warn(  # which Python shows once for each text
            f"Images of {said} are called {shown(thing)} here, as all others are.",
            stacklevel=2,
        )
    return replace(sample, category=None)


@dataclass(frozen=True)
class _Found:
    """Path -> score, error and embedding."""

    scores: dict[str, float]
    errors: dict[str, str]
    embeddings: dict[str, np.ndarray]


def _score(backbone: Backbone, samples: Sequence[Sample], setup: Setup, found: _Found) -> None:
    """Score images without keeping anything on disk."""
    panel = setup.panel(backbone, {HEAD: _WholeImage()})
    with Progress(len(samples)) as progress:
        for batch in score_samples(
            panel, samples, batch_size=setup.batch_size, open_image=setup.open_image
        ):
            for one in batch:
                path = str(one.sample.path)
                if one.error is not None:
                    found.errors[path] = one.error
                    continue
                found.scores[path] = one.scores[HEAD]
                if one.seen:
                    found.embeddings[path] = one.seen.embedding
            progress.advance(len(batch), failed=sum(one.error is not None for one in batch))


def _ranking(backbone: Backbone, asked: Asked, found: _Found, report: Path | None) -> Ranking:
    scores, errors = found.scores, found.errors
    if not scores:
        raise InputError(
            f"None of {len(errors)} images can be read, the first because "
            f"{shown(next(iter(errors.values())))}; give others."
        )
    ranked = sorted(scores, key=scores.__getitem__, reverse=True)
    known = [found.embeddings[path] for path in ranked if path in found.embeddings]
    spread = spread_of(backbone, asked, np.stack(known)) if len(known) > 1 else None
    return Ranking({path: _margin(scores[path]) for path in ranked}, errors, spread, report)


class _WholeImage(WinCLIP):
    """WinCLIP's image score alone: without windows, which only its maps need."""

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        return replace(super().spec(backbone), windows=())


def _margin(probability: float) -> float:
    """The difference of cosines behind a score of WinCLIP."""
    return WinCLIP().temperature * float(np.log(probability) - np.log1p(-probability))
