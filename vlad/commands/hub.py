"""push and pull of vlad detector and vlad adapters: the model hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from vlad.commands.options.option import option

if TYPE_CHECKING:
    from vlad.hub.transfer import Moved

_LISTED = 5  # names of files on one line


def _push_options(command: Callable) -> Callable:
    for add in (
        option("--overwrite", "Replace what is in the repository; the hub keeps its history."),
        option("--public", "Let everyone see it; without it, a new repository is private."),
        option("--licence WORDS", "Licence to state in the card.  [default: not stated]"),
    ):
        command = add(command)
    return command


@click.command("push")
@click.argument("folder", metavar="DIR")
@click.argument("repository", metavar="OWNER/NAME")
@_push_options
@option("--with-weights", "Send the backbone inside it too; its licence must allow that.")
def push_detector(folder, repository, licence, public, overwrite, with_weights) -> None:
    """Send a detector to a repository of the Hugging Face hub, with a card.

    Only the detector's own files are sent. They name the images it learned from, but do not hold
    them. The token is that of `hf auth login` or HF_TOKEN.

    \b
    vlad detector push detectors/bottle me/bottle --licence Apache-2.0
    """
    from vlad.commands.detector import facts
    from vlad.detector import Detector
    from vlad.hub.transfer import push_detector as push

    known = [*facts(Detector.load(folder), Path(folder))]
    moved = push(
        Path(folder),
        repository,
        known,
        licence=licence,
        with_weights=with_weights,
        public=public,
        overwrite=overwrite,
    )
    _say_sent(moved, repository)


@click.command("pull")
@click.argument("repository", metavar="OWNER/NAME")
@click.argument("folder", metavar="DIR")
@option("--overwrite", "Replace the detector in DIR, which is kept there as a version.")
def pull_detector(repository, folder, overwrite) -> None:
    """Fetch a detector from a repository of the Hugging Face hub into a folder.

    Its files are checked before they are put there; pickles and files that no detector has are not
    fetched.

    \b
    vlad detector pull me/bottle detectors/bottle
    """
    from vlad.hub.transfer import pull_detector as pull

    moved = pull(repository, Path(folder), overwrite=overwrite)
    _say_fetched(moved, repository)
    if moved.version:
        click.echo(f"What was in {folder} is version {moved.version}: see `vlad detector restore`")
    click.echo(f"Use it with --detector {moved.folder}")


@click.command("push")
@click.argument("adapter", metavar="ADAPTER")
@click.argument("repository", metavar="OWNER/NAME")
@_push_options
def push_adapter(adapter, repository, licence, public, overwrite) -> None:
    """Send an adapter to a repository of the Hugging Face hub, with a card.

    ADAPTER is a name or a folder. The token is that of `hf auth login` or HF_TOKEN.

    \b
    vlad adapters push adapters/mine me/mine
    """
    from vlad.hub.transfer import push_adapter as push

    moved = push(adapter, repository, licence=licence, public=public, overwrite=overwrite)
    _say_sent(moved, repository)


@click.command("pull")
@click.argument("repository", metavar="OWNER/NAME")
@option("--out DIR", "Output folder.  [default: the user's adapter folder]")
def pull_adapter(repository, out) -> None:
    """Fetch an adapter from a repository of the Hugging Face hub.

    It is checked against its card before it appears among the adapters, as NAME.

    \b
    vlad adapters pull me/mine
    """
    from vlad.adapters import CARD
    from vlad.adapters.cards import read_card
    from vlad.hub.transfer import pull_adapter as pull

    moved = pull(repository, Path(out) if out else None)
    _say_fetched(moved, repository)
    card = read_card(moved.folder / CARD)  # which its file was checked against
    use = moved.folder if out else moved.folder.name
    on = quote(card["backbone"])
    click.echo(f"Use it with --backbone {on} --head {card['head']} --adapter {quote(str(use))}")


def _say_sent(moved: Moved, repository: str) -> None:
    click.echo(f"Sent to {repository}, commit {moved.commit[:10]}: {_named(moved.files)}")
    if moved.passed_over:
        click.echo(f"Not sent: {_named(moved.passed_over)}")


def _say_fetched(moved: Moved, repository: str) -> None:
    click.echo(f"Fetched from {repository}, commit {moved.commit[:10]}: {_named(moved.files)}")
    if moved.passed_over:
        click.echo(f"Not fetched: {_named(moved.passed_over)}")


def _named(paths: list[str]) -> str:
    """How many files there are, and which."""
    from vlad.system.text import and_more, counted, shown

    names = and_more([*map(shown, paths)], min(_LISTED, len(paths)))
    return f"{counted(len(paths), 'file')} ({names})"
