"""Rows of words as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], names: int | None = None) -> str:
    """Lines of equally many cells, each column as wide as its widest cell.

    Args:
        names: columns before those of numbers, which end together; None if there are none of these.
    """
    columns = []
    for place, cells in enumerate(zip(*rows, strict=True)):
        pad = str.ljust if names is None or place < names else str.rjust
        width = max(map(len, cells))
        columns.append([pad(cell, width) for cell in cells])
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*columns, strict=True))


def megabytes(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 1e6:.1f} MB"
