"""Fills in the page of commands with what `--help` prints (a hook of MkDocs)."""

from __future__ import annotations

from collections.abc import Iterator

import click

from vlad.cli import main

_WIDTH = 80  # characters, as wide as the page


def on_page_markdown(markdown: str, **_) -> str:
    """The page with the help of every command in place of its mark."""
    return markdown.replace("<!-- commands -->", "\n".join(_sections(main, "vlad")))


def _sections(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[str]:
    settings = {**command.context_settings, "terminal_width": _WIDTH}
    context = click.Context(command, parent, name.split()[-1], **settings)
    level = "###" if parent and parent.parent else "##"
    yield f"{level} {name}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for verb in command.list_commands(context):
            yield from _sections(command.commands[verb], f"{name} {verb}", context)
