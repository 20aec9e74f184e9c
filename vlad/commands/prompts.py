"""vlad prompts: list, show, check and tune prompt banks."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vlad.commands.options.option import option
from vlad.commands.prompts_tune import tune
from vlad.errors import PromptError
from vlad.system.text import shown

if TYPE_CHECKING:
    from vlad.backbones.tokens import Context


@click.group("prompts")
def prompts() -> None:
    """List, show, check and tune prompt banks."""


prompts.add_command(tune)


@prompts.command("list")
def list_banks() -> None:
    """List the banks that ship with vlad, with the number of sentences in each."""
    from vlad.prompts import bank_names, load_bank

    names = bank_names()
    width = max(map(len, names))
    click.echo(f"{'bank':{width}}  normal  anomalous  title")
    for name in names:
        bank = load_bank(name)
        counts = bank.wording.counts
        click.echo(f"{name:{width}}  {counts['normal']:6}  {counts['anomalous']:9}  {bank.title}")


@prompts.command("show")
@click.argument("bank")
@option("--category WORDS", "What the images show, for example hazelnut.", default="object")
@option("--limit N", "Show only the first N sentences of each state.", type=click.IntRange(min=1))
def show(bank: str, category: str, limit: int | None) -> None:
    """Print the source of a bank and its sentences about a category.

    BANK is a name or a TOML file.
    """
    from vlad.prompts import load_bank

    chosen = load_bank(bank)
    sentences = chosen.expand(category)
    about = [chosen.title, *filter(None, [chosen.description])]
    about += [f"Source: {chosen.source}", f"Licence: {chosen.licence}"]
    click.echo(shown("\n".join(about), keep="\n"))
    for side in ("normal", "anomalous"):
        lines = getattr(sentences, side)
        click.echo(f"\n{side}: {len(lines)} sentences")
        for line in lines[:limit]:
            click.echo(f"  {shown(line)}")
        if limit and len(lines) > limit:
            click.echo(f"  ... and {len(lines) - limit} more")


@prompts.command("check")
@click.argument("files", nargs=-1, required=True, type=click.Path())
def check(files: tuple[str, ...]) -> None:
    """Validate your own prompt banks.

    The exit code is 2 if any is invalid.
    """
    from vlad.prompts import load_bank

    context = clip_context()
    valid = True
    for file in files:
        try:
            bank = load_bank(Path(file))
        except PromptError as error:
            click.echo(f"Error: {error}", err=True)
            valid = False
        else:
            if cut := context.cut(bank.sentences):
                click.echo(
                    f"Error: {file}: {len(cut)} of {len(bank.sentences)} sentences have more than "
                    f"the {context.limit} tokens that CLIP reads and would be cut, as "
                    f"{shown(repr(cut[0]))}; shorten them.",
                    err=True,
                )
                valid = False
                continue
            said = ", ".join(f"{n} {side}" for side, n in bank.wording.counts.items())
            click.echo(f"{file}: ok, {said} sentences")
    if not valid:
        raise SystemExit(2)


def clip_context() -> Context:
    """How long sentences may be for CLIP."""
    from vlad.backbones.tokens import Context

    return Context(77, _clip_tokens)


def _clip_tokens(sentence: str) -> int:
    return _clip().count(sentence)


@cache
def _clip():
    from vlad.backbones.clip import Tokenizer
    from vlad.backbones.tokens import context_of

    return context_of(Tokenizer(77))  # takes seconds
