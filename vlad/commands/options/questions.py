"""Options for multiple-choice questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING

import click

from vlad.commands.options.option import option, together
from vlad.errors import InputError

if TYPE_CHECKING:
    from vlad.datasets.questions import Templates

OPTIONS = (
    option(
        "--questions FILE",
        "Ask --vlm these multiple-choice questions about images in DIR instead: MMAD's JSON, "
        "or CSV with the columns image, question, A, B, ..., answer and kind.",
    ),
    option(
        "--templates",
        "Which of MMAD's normal images to show, --k-shot of them.",
        type=click.Choice(["random", "similar"]),
        default="random",
    ),
    option(
        "--listed-order",
        "Show options in the order of the file, as MMAD does.  [default: shuffled by --seed]",
    ),
    option("--answers FILE", "Also write each answer to --questions as CSV."),
)
# of the other options of `vlad eval`, those that apply to questions too
OTHERS = (
    *("root", "k_shot", "seed", "json_file", "device", "max_pixels", "bits"),
    *("vlm", "vlm_model", "vlm_timeout", "vlm_rate"),
)
OWN = ("questions", "templates", "listed_order", "answers")


@dataclass(frozen=True)
class QuestionOptions:
    """What the options say of questions.

    Attributes:
        file: None if there are none to ask.
    """

    file: str | None
    templates: Templates
    listed_order: bool
    answers: str | None


def question_options(command: Callable) -> Callable:
    """Add --questions and what belongs to it; the command gets `QuestionOptions` as `questions`."""

    @wraps(command)
    def packed(questions, templates, listed_order, answers, **options):
        made = QuestionOptions(questions, templates, listed_order, answers)
        return command(questions=made, **options)

    return together(*OPTIONS)(packed)


def check_questions(options: QuestionOptions, model: str | None) -> None:
    """Check that options which were given go together.

    Args:
        model: of --vlm.

    Raises:
        InputError: questions without a model, an option that has nothing to do with them, or one of
            theirs without them.
    """
    context = click.get_current_context()
    for param in context.command.params:
        name = param.name or ""
        if context.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE:
            continue
        if options.file and name not in (*OTHERS, *OWN):
            raise InputError(f"{param.opts[0]} does not apply to --questions; leave it out.")
        if not options.file and (name in OWN or name.startswith("vlm")):
            raise InputError(
                f"{param.opts[0]} is for --questions; name a file of them, or leave it out."
            )
    if options.file and model is None:
        raise InputError(
            "--questions are put to a vision-language model; name one with --vlm, or leave them "
            "out."
        )
