"""vlad eval --questions: multiple-choice questions to a vision-language model."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vlad.commands.options import Common
from vlad.commands.options.columns import aligned
from vlad.commands.options.questions import QuestionOptions
from vlad.commands.options.vlm import VlmOptions
from vlad.errors import InputError
from vlad.system.text import counted, csv_line, csv_path, csv_text, encode, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlad.evaluation.answers import Group
    from vlad.evaluation.asking import Answered

HEADER = ("data", "kind", "question", "right", "chosen", "letter", "said", "error")


def ask_questions(
    root: str,
    options: QuestionOptions,
    vlm: VlmOptions,
    common: Common,
    k_shot: int,
    seed: int,
    json_file: str | None,
) -> None:
    """Ask, and print accuracies; the arguments are those of `vlad eval`."""
    from vlad import __version__
    from vlad.datasets.questions import read_questions
    from vlad.evaluation.answers import groups_of, letters_of, mean_of_kinds
    from vlad.evaluation.asking import ask_questions
    from vlad.scoring.record import digest_of
    from vlad.system.files import atomic_write, check_file
    from vlad.system.progress import Progress
    from vlad.vlm.prompts import load_prompt

    assert options.file is not None  # the caller asks only then
    check_file(json_file)
    check_file(options.answers)
    questions = read_questions(options.file, options.templates)
    prompt = load_prompt("choice")
    model = vlm.open(common.setup.device)
    assert model is not None  # `check_questions` checks it
    order = None if options.listed_order else seed
    answers: list[Answered] = []
    with Progress(len(questions), verb="asked", unit="questions") as progress:
        model.expect(len(questions), progress.say)
        for part in ask_questions(
            model,
            questions,
            Path(root),
            prompt,
            common.setup.open_image,
            shots=k_shot,
            seed=order,
        ):
            answers += part
            progress.advance(len(part), failed=sum(one.chosen is None for one in part))
    if all(one.unread for one in answers):
        raise InputError(
            f"No image of the {len(answers)} questions can be read ({answers[0].unread[:-1]}); "
            "check DIR, which their paths start from."
        )
    groups = groups_of(answers)
    click.echo(report(groups, answers))
    if options.answers:
        atomic_write(Path(options.answers), encode(csv_of(answers)))
    if json_file:
        found = {
            "kind": "vlad questions",
            "vlad": __version__,
            "vlm": model.name,
            "questions": digest_of(options.file),
            "prompt": prompt.name,
            "k_shot": k_shot,
            "templates": options.templates,
            "order": "listed" if order is None else f"shuffled by seed {seed}",
            "asked": sum(not one.unread for one in answers),
            "left_out": sum(bool(one.unread) for one in answers),
            "mean_of_kinds": mean_of_kinds(groups),
            "letters": letters_of(answers),
            "groups": [asdict(group) for group in groups],
        }
        atomic_write(Path(json_file), json.dumps(found, indent=2).encode())


def report(groups: Sequence[Group], answers: Sequence[Answered]) -> str:
    """Accuracies as lines of text, in percent, with what to know before comparing them."""
    from vlad.evaluation.answers import letters_of, mean_of_kinds

    rows = [
        [
            *("data", "kind", "questions", "accuracy", "95 % interval", "balanced", "no answer"),
            *("chance", "always the same"),
        ]
    ]
    for one in groups:
        interval = f"{100 * one.interval.low:.1f} to {100 * one.interval.high:.1f}"
        balanced = "–" if one.balanced is None else f"{100 * one.balanced:.1f}"
        names = ["all" if x is None else shown(x) or "–" for x in (one.data, one.kind)]
        shares = [f"{100 * x:.1f}" for x in (one.no_answer, one.chance)]
        always = f"{100 * one.always:.1f} ({shown(one.answer)[:20]})"
        accuracy = f"{100 * one.accuracy:.1f}"
        rows.append([*names, str(one.questions), accuracy, interval, balanced, *shares, always])
    lines = [aligned(rows)]
    if len(groups) > 1:
        mean = 100 * mean_of_kinds(groups)
        lines.append(f"Mean over data sets of the mean over kinds, as in MMAD: {mean:.1f}")
    letters = ", ".join(
        f"{letter} {100 * x['chosen']:.0f} % ({100 * x['right']:.0f} %)"
        for letter, x in letters_of(answers).items()
    )
    if letters:
        lines.append(f"Letters that the model chose, and those that were right: {letters}")
    if silent := [one for one in answers if one.error]:
        lines.append(
            f"{counted(len(silent), 'question')} without an answer, counted as wrong; the first, "
            f"about {shown(silent[0].question.image)}: {shown(silent[0].error)}"
        )
    if unread := [one for one in answers if one.unread]:
        lines.append(
            f"Left out {counted(len(unread), 'question')} whose images cannot be read; the first: "
            f"{shown(unread[0].unread)}"
        )
    return "\n".join(lines)


def csv_of(answers: Sequence[Answered]) -> str:
    """A line for each question."""
    lines = [csv_line(("image", *HEADER))]
    for one in answers:
        question = one.question
        chosen = "" if one.chosen is None else question.options[one.chosen]
        cells = (question.data, question.kind, question.text, question.options[question.answer])
        own = (chosen, one.letter(one.chosen), one.said, one.error or one.unread)
        lines.append(csv_line((csv_path(question.image), *map(csv_text, (*cells, *own)))))
    return "".join(lines)
