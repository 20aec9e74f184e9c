"""Prompt banks of captions: memories of scenes in Parquet, too large for a file that people write.

A row is a caption, with the columns `side` ("normal" or "anomalous"), `caption` and, if you like,
`action`, a few words for what happens. Texts called title, source and licence in the metadata of
the file's schema are those of the bank.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from vlad.errors import PromptError
from vlad.prompts import MAX_PHRASE, ORDERS, SIDES, PromptBank, Wording
from vlad.system.resources import check_regular
from vlad.system.text import shown

SUFFIX = ".parquet"
MAX_CAPTIONS = 500_000  # per side
COLUMNS = ("side", "caption", "action")
TEMPLATES = {"normal": ("Normal Scene: {}",), "anomalous": ("Anomalous Scene: {}",)}


def read_captions(path: Path) -> PromptBank:
    """The bank of captions in a Parquet file.

    Sentences begin with the side and the action, as those of the bank `scenes` do. A `{}` in a
    caption stands for the category.

    Raises:
        PromptError: the file cannot be read, or is no such table.
    """
    content, table, about = _read(path)
    sides: dict[str, dict[str, None]] = {side: {} for side in SIDES}
    actions = table.get("action") or [None] * len(table["side"])
    rows = zip(table["side"], table["caption"], actions, strict=True)
    for number, (side, caption, action) in enumerate(rows, start=1):
        _need(side in sides, path, number, "side", side, "write normal or anomalous")
        fix = f"write a text of at most {MAX_PHRASE} characters, with no braces but {{}}"
        _need(_is_phrase(caption), path, number, "caption", caption, fix)
        _need(action is None or _is_phrase(action), path, number, "action", action, fix)
        state = f"Action Category: {action}. Description: {caption}" if action else caption
        _need(state not in sides[side], path, number, "caption", caption, "remove the repetition")
        sides[side][state] = None
    for side, states in sides.items():
        if not 0 < len(states) <= MAX_CAPTIONS:
            raise PromptError(
                f"{path} has {len(states):,} {side} captions; write at least one and at most "
                f"{MAX_CAPTIONS:,}."
            )
    return PromptBank(
        name=path.stem,
        title=about.get("title", path.stem),
        source=about.get("source", "not stated"),
        licence=about.get("licence", "not stated"),
        description="",
        wording=Wording(tuple(sides["normal"]), tuple(sides["anomalous"]), TEMPLATES),
        order=ORDERS[0],
        names="readable",
        noun="",
        replace={},
        synonyms={},
        categories=(),
        overrides=(),
        faults=None,
        content=content,
        suffix=SUFFIX,
    )


def _read(path: Path) -> tuple[bytes, dict[str, Sequence[Any]], dict[str, str]]:
    """The bytes of the file, its columns, and the texts in its metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        check_regular(path)
        content = path.read_bytes()
        file = pq.ParquetFile(BytesIO(content))
        if file.metadata.num_rows > len(SIDES) * MAX_CAPTIONS:
            raise ValueError(f"it has {file.metadata.num_rows:,} rows")
        table = file.read()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise PromptError(
            f"{path} cannot be read as Parquet ({shown(error)}); correct the path or the file."
        ) from error
    names = table.column_names
    if not {"side", "caption"} <= set(names) <= set(COLUMNS) or len(names) > len(set(names)):
        raise PromptError(
            f"{path} has the columns {_listed(names)}; give it side, caption and, if you like, "
            "action."
        )
    metadata = (table.schema.metadata or {}).items()
    about = {key.decode(errors="replace"): text.decode(errors="replace") for key, text in metadata}
    return content, table.to_pydict(), about


def _is_phrase(value: object) -> bool:
    return (
        isinstance(value, str)
        and bool(value.strip())
        and len(value) <= MAX_PHRASE
        and not set(value.replace("{}", "")) & set("{}")
    )


def _need(holds: bool, path: Path, row: int, column: str, value: object, fix: str) -> None:
    if not holds:
        raise PromptError(
            f"{path}, row {row}: {column} is {shown(repr(value))}; correct it ({fix})."
        )


def _listed(names: Iterable[str]) -> str:
    return shown(", ".join(names)) or "none"
