"""vlad heads, vlad backbones: what --head and --backbone accept here."""

from __future__ import annotations

import click

from vlad.commands.options.columns import aligned, megabytes


@click.command()
def heads() -> None:
    """List the heads: what each needs and does, and its paper."""
    from vlad.heads import head_names
    from vlad.heads.facts import head_facts

    names = head_names()
    width = 2 + max(map(len, names))
    for facts in map(head_facts, names):
        click.echo(f"{facts.name:{width}}{facts.summary}")
        click.echo(f"{'':{width}}needs {facts.needs}")
        click.echo(f"{'':{width}}{facts.paper or 'no paper'}")


@click.command()
def backbones() -> None:
    """List the backbones on this disk, and how to name others."""
    import logging

    import vlad.backbones
    from vlad.backbones.stored import stored_backbones

    logging.getLogger().setLevel(logging.CRITICAL)
    rows = [["backbone", "size", "where"]]
    rows += [
        [backbone.name, megabytes(backbone.size), str(backbone.path)]
        for backbone in stored_backbones()
    ]
    click.echo(aligned(rows))
    click.echo(f"\nThe default is {vlad.backbones.DEFAULT}. --backbone takes:\n")
    click.echo((vlad.backbones.__doc__ or "").partition("\n\n")[2].rstrip())
