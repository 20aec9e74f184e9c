"""vlad prompts: list, show and check prompt banks."""

from __future__ import annotations

import click


@click.group("prompts")
def prompts() -> None:
    """List, show and check prompt banks."""


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
@click.option(
    "--category",
    metavar="WORDS",
    default="object",
    show_default=True,
    help="What the images show, for example hazelnut.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="Show only the first N sentences of each state.",
)
def show(bank: str, category: str, limit: int | None) -> None:
    """Print the source of a bank and its sentences about a category.

    BANK is a name or a TOML file.
    """
    from vlad.prompts import load_bank
    from vlad.system.text import shown

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
    from pathlib import Path

    from vlad.errors import PromptError
    from vlad.prompts import load_bank

    valid = True
    for file in files:
        try:
            counts = load_bank(Path(file)).wording.counts
        except PromptError as error:
            click.echo(f"Error: {error}", err=True)
            valid = False
        else:
            said = ", ".join(f"{number} {side}" for side, number in counts.items())
            click.echo(f"{file}: ok, {said} sentences")
    if not valid:
        raise SystemExit(2)
