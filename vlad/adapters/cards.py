"""Cards: metadata of an adapter, as TOML beside it or in the registry shipped with vlad."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlad.adapters import CARD, FILE, Adapter, adapters_folder, read_adapter
from vlad.errors import AdapterError
from vlad.system.formats import check_format
from vlad.system.resources import data_folder
from vlad.system.tables import read_table

FIELDS = ("head", "backbone", "auxiliary", "licence", "source")


def registry() -> dict[str, dict[str, Any]]:
    """Name -> card of the adapters that vlad knows but does not ship.

    Raises:
        AdapterError: the registry or one of its cards is unreadable or lacks a field.
    """
    folder = data_folder("adapters")
    return {
        name: read_card(folder / file)
        for name, file in read_table(folder / "registry.toml", AdapterError)
        .get("cards", {})
        .items()
    }


def here() -> dict[str, dict[str, Any]]:
    """Name -> card of the adapters shipped with vlad and the user's, which take precedence.

    An adapter with a broken card is listed with the reason.
    """
    found = {}
    folders = data_folder("adapters"), adapters_folder()
    for file in (file for folder in folders for file in sorted(folder.glob(f"*/{FILE}"))):
        try:
            found[file.parent.name] = read_card(file.parent / CARD)
        except AdapterError as error:
            found[file.parent.name] = {**dict.fromkeys(FIELDS, "?"), "error": str(error)}
    return found


def released(digest: str) -> tuple[str, dict[str, Any]] | None:
    """Name and card of the authors' checkpoint with this SHA-256, if in the registry."""
    cards = registry().items()
    return next(((n, c) for n, c in cards if c.get("source_sha256") == digest), None)


def read_checked(file: Path) -> Adapter:
    """The adapter in a safetensors file, which agrees with the card beside it.

    Raises:
        AdapterError: the file or the card is damaged, or they differ.
    """
    found = read_adapter(file)
    card = read_card(file.parent / CARD)
    if card.get("sha256") != found.sha256:
        raise AdapterError(
            f"{file} was changed: it has SHA-256 {found.sha256}, but its card says "
            f"{card.get('sha256')}; import it again."
        )
    for field in ("head", "backbone", "auxiliary"):
        if card[field] != getattr(found, field):
            raise AdapterError(
                f"{file} and its card name different values of {field}; import it again."
            )
    return found


def read_card(file: Path) -> dict[str, Any]:
    """The table of a card.

    Raises:
        AdapterError: it is unreadable or of a newer vlad, or lacks one of FIELDS or both sha256 and
            sha256_note.
    """
    card = read_table(file, AdapterError)
    check_format(card, card, file, AdapterError)  # people may add fields of their own
    for field in FIELDS:
        if not isinstance(card.get(field), str) or not card[field].strip():
            raise AdapterError(f"The card {file} lacks the field {field}; fill it in.")
    if not any(isinstance(card.get(field), str) for field in ("sha256", "sha256_note")):
        raise AdapterError(f"The card {file} has neither sha256 nor sha256_note; give one.")
    return card
