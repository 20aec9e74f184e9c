"""vlad ask: which images a question fits best."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vlad.commands.options import Common, given, open_backbone, say_if_trial, setup_of
from vlad.commands.options.columns import aligned
from vlad.commands.options.option import option
from vlad.commands.options.sections import SectionedCommand
from vlad.commands.options.vlm import VlmOptions, vlm_options
from vlad.errors import InputError
from vlad.system.text import counted, encode, shown

if TYPE_CHECKING:
    from vlad.prompts.question import Asked
    from vlad.runs.ask import Ranking
    from vlad.scoring.setup import Setup
    from vlad.vlm import VLM

READING = (
    *("backbone", "image_size", "batch_size", "device", "dtype", "runtime", "max_pixels", "bits"),
)


@click.command(cls=SectionedCommand)
@click.argument("question", metavar="QUESTION")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@option("--category WORDS", "What the images show, for example hazelnut.  [default: object]")
@option(
    "--negation WORDS",
    "What is true of an image of which the question is not.  [default: from --vlm, or without "
    "it, or not so]",
)
@option(
    "--top N",
    "Images to list, and to ask the model of --vlm about.",
    type=click.IntRange(min=1),
    default=10,
)
@given(*READING)
@vlm_options
@option("--out DIR", "Output folder for maps and a report, as of vlad score.  [default: none]")
@option("--resume", "Continue an interrupted run; nothing is scored twice.")
@option("--overwrite", "Delete the run in the output folder first.")
def ask(
    question: str,
    paths: tuple[str, ...],
    category: str | None,
    negation: str | None,
    top: int,
    vlm: VlmOptions,
    out: str | None,
    resume: bool,
    overwrite: bool,
    **reading,
) -> None:
    """Rank images by how well a question fits them.

    QUESTION is a question or a few words: "any scratches near the rim?", "scratched",
    "no label". PATH is a file, a folder, a pattern, or a CSV manifest with a column `path`. The
    backbone must read text. The order is no verdict: there is no threshold. With --vlm, a
    vision-language model answers for the first images, which changes no order.

    \b
    vlad ask "any scratches near the rim?" parts/
    vlad ask "is the cap scratched?" parts/ --category bottle --negation "smooth cap"
    vlad ask "no label" parts/ --top 20 --out runs/unlabelled
    vlad ask "any rust?" parts/ --vlm http://127.0.0.1:8000/v1 --vlm-model NAME
    """
    from vlad.datasets import list_samples
    from vlad.heads.winclip import WinCLIP
    from vlad.prompts.question import read_question
    from vlad.results.runjson import RUN
    from vlad.runs.ask import HEAD
    from vlad.runs.ask import ask as rank

    if (resume or overwrite) and not out:
        raise InputError("--resume and --overwrite are for the folder of --out; name it.")
    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other; leave one out.")
    asked = read_question(question, category, negation or "")
    if out:
        RUN.check(out, resume=resume, overwrite=overwrite)
    samples = list_samples(paths, out)
    if not samples:
        raise InputError(f"All these images are in the output folder {out}; choose another.")
    setup = setup_of({"overlap": None, "tile": None, **reading})
    backbone = open_backbone(Common(setup, (), ()), {HEAD: WinCLIP()})
    model = vlm.open(setup.device)
    if model and not negation:
        asked = _negated(model, asked)
    click.echo(understood(asked))
    try:
        ranking = rank(backbone, asked, samples, setup, out, resume=resume, overwrite=overwrite)
    except KeyboardInterrupt:
        kept = "Nothing is kept without --out."
        if out:
            kept = f"Finished rows are kept in {out}; add --resume to continue."
        click.echo(f"Stopped. {kept}", err=True)
        raise SystemExit(130) from None
    click.echo(table(ranking, top))
    click.echo(meaning(ranking))
    if ranking.report:
        click.echo(f"Report: {ranking.report}")
    if model:
        _answer(model, asked, list(ranking.margins)[:top], setup, out)
    say_if_trial(backbone)


def _negated(model: VLM, asked: Asked) -> Asked:
    """The question with the model's words for its opposite, if it has some."""
    from vlad.vlm.asking import negated

    asked, why = negated(model, asked)
    if why:
        said = f"{model.name} gave no words for the opposite, so plain ones are used: {why}"
        click.echo(shown(said, keep=" "), err=True)
    return asked


def _answer(model: VLM, asked: Asked, paths: list[str], setup: Setup, out: str | None) -> None:
    """Print what the model answers for some images, and keep it in the output folder."""
    from vlad.runs.ask import ANSWERS
    from vlad.system.files import atomic_write
    from vlad.vlm.asking import answered

    click.echo(shown(f"{model.name} answers, for what it is worth:", keep=" "))
    lines = []
    found = answered(model, asked, paths, setup.open_image, partial(click.echo, err=True))
    for place, (path, answer) in enumerate(found, 1):
        said = answer.error or f"{answer.answer}: {answer.sentence}"
        click.echo(f"{place}  {shown(path, keep=' ')}\n   {shown(said, keep=' ')}")
        lines.append(json.dumps({"path": path, **answer.as_dict()}, ensure_ascii=False))
    if out:
        atomic_write(Path(out) / ANSWERS, encode("".join(f"{line}\n" for line in lines)))
        click.echo(f"Answers: {Path(out) / ANSWERS}")


def understood(asked: Asked) -> str:
    """What was made of the question."""
    return "\n".join(
        [
            f"For:     {shown('; '.join(asked.said(asked.found)))}",
            f"Against: {shown('; '.join(asked.said(asked.otherwise)))}",
            "If this is not what you mean, ask in other words, or give --negation.",
        ]
    )


def table(ranking: Ranking, top: int) -> str:
    """A line for each of the first images."""
    rows = [["", "margin", "image"]]
    for place, (path, margin) in enumerate(list(ranking.margins.items())[:top], 1):
        rows.append([str(place), f"{margin:+.4f}", shown(path, keep=" ")])
    return aligned(rows)


def meaning(ranking: Ranking) -> str:
    """What the table leaves out, and what it means."""
    lines = [
        f"{counted(len(ranking.margins), 'image')} compared. margin: cosine with the sentences "
        "for, minus that with those against; it ranks, and decides nothing."
    ]
    if ranking.errors:
        path, error = next(iter(ranking.errors.items()))
        lines.append(
            f"{counted(len(ranking.errors), 'image')} left out, first {shown(path)}: {shown(error)}"
        )
    if (spread := ranking.spread) is None:
        lines.append("A single image has no order; give more to compare.")
    elif spread.alike:
        lines.append(
            f"{spread.words} unrelated words order these images alike, or the other way "
            f"round (median correlation {spread.correlation:.2f}), so the order says little about "
            "this question. Ask in other words, or try another --backbone."
        )
    elif spread.differs:
        lines.append(
            f"The images differ more in this than in {spread.exceeded} of {spread.words} unrelated "
            f"words, which order them otherwise (median correlation {spread.correlation:.2f}). "
            "That is no proof that any image has it."
        )
    else:
        lines.append(
            f"The images do not differ in this: only {spread.exceeded} of {spread.words} unrelated "
            "words tell them less apart, so the order may mean nothing. Ask in other words, or "
            "try another --backbone."
        )
    return "\n".join(lines)
