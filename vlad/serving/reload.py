"""Detectors loaded again from their folders, while requests are answered."""

from __future__ import annotations

import click

from vlad.serving.detectors import Conflict, Served, Store, make_ready
from vlad.serving.threads import in_turn
from vlad.system.text import shown


async def reload(store: Store, one: Served) -> Served:
    """Load a detector again, score a blank image with it, and put it in the place of the old one.

    Requests that began with the old one finish with it; if the new one fails, the old one stays.

    Raises:
        Conflict: it was not loaded from a folder.
        VladError: as `Detector.load` and `make_ready`.
    """
    if one.load is None:
        raise Conflict(f"Detector {one.name} has no folder to be loaded from; restart the service.")
    made = await in_turn(store.reloading, _ready, store, one)
    store.replace(made)
    return made


async def reload_all(store: Store) -> None:
    """Reload all detectors that have a folder, and tell of each on stderr how it went."""
    for one in store:
        if one.load is None:
            continue
        try:
            await reload(store, one)
            click.echo(f"Reloaded {one.name}.", err=True)
        except Exception as error:  # whatever it is, the service goes on
            said = shown(f"{one.name} was not reloaded, so the former one stays: {error}", keep=" ")
            click.echo(said, err=True)


def _ready(store: Store, one: Served) -> Served:
    assert one.load is not None  # checked before
    made = Served(one.name, one.load(), load=one.load)
    make_ready([made], among=store)
    return made
