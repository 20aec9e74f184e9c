"""vlad heads: what --head accepts here."""

from __future__ import annotations

import click


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
