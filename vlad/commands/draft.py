"""vlad prompts draft: states of a category that a vision-language model proposes."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click

from vlad.commands.options import given
from vlad.commands.options.option import option
from vlad.commands.options.vlm import VlmOptions, vlm_options
from vlad.errors import InputError, OutputError
from vlad.system.text import shown


@click.command("draft")
@click.argument("category")
@vlm_options
@given("device")
@option(
    "--out FILE",
    "The prompt bank to write.  [default: named after the category, as bottle_cap.toml]",
)
@option("--overwrite", "Replace the file if there is one.")
def draft(category: str, vlm: VlmOptions, device: str, out: str | None, overwrite: bool) -> None:
    """Draft a prompt bank for a category, for a person to correct.

    A vision-language model writes states of good and defective objects, from the words CATEGORY
    alone. What is of no use is dropped, with the reason. Whether the bank helps is not known
    before it is measured on images.

    \b
    vlad prompts draft "bottle cap" --vlm http://127.0.0.1:8000/v1 --vlm-model NAME
    """
    from vlad.commands.prompts import clip_context
    from vlad.prompts import SIDES
    from vlad.prompts.categories import check_category
    from vlad.system.files import atomic_write, check_writable
    from vlad.vlm.draft import draft as ask_for
    from vlad.vlm.draft import text_of

    category = check_category(category)
    file = Path(out or _named(category))
    if file.is_dir() or (file.exists() and not overwrite):
        raise OutputError(f"{file} is there already; choose another --out, or add --overwrite.")
    check_writable(file.parent)
    model = vlm.open(device)
    if model is None:
        raise InputError("A draft is written by a model; name one with --vlm.")
    context = clip_context()
    found = ask_for(model, category, lambda sentence: bool(context.cut([sentence])))
    atomic_write(file, text_of(found, model, category, f"{date.today()}").encode())
    for one in found.dropped:
        click.echo(shown(f"Dropped ({one.side}): {one.phrase!r} {one.why}", keep=" "), err=True)
    for side in SIDES:
        click.echo(f"{side}:")
        for state in getattr(found, side):
            click.echo(shown(f"  {state.replace('{}', category)}", keep=" "))
    click.echo(
        f"{file}: a draft by {shown(model.name)}, which no person has checked. Correct it, state "
        "its licence, and measure it with vlad eval before you rely on it."
    )


def _named(category: str) -> str:
    """A file name with the letters and digits of a category."""
    return "_".join("".join(c if c.isalnum() else " " for c in category).split()) + ".toml"
