"""vlad completion: the script that lets a shell complete vlad's commands and options."""

from __future__ import annotations

import click

INSTALL = {
    "bash": 'add to ~/.bashrc: eval "$(vlad completion bash)"',
    "zsh": 'add to ~/.zshrc: eval "$(vlad completion zsh)"',
    "fish": "vlad completion fish > ~/.config/fish/completions/vlad.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(INSTALL)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a shell completion script."""
    from click.shell_completion import get_completion_class

    make = get_completion_class(shell)
    assert make is not None  # click knows these shells
    script = make(ctx.find_root().command, {}, "vlad", "_VLAD_COMPLETE")
    click.echo(script.source())
    click.echo(f"# To install: {INSTALL[shell]}")
