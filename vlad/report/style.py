"""What the report and the service's page look like."""

from __future__ import annotations

from pathlib import Path

_BASE = Path(__file__).with_name("base.css")


def style(file: Path) -> str:
    """The style of a page: colours and letters of every page, then its own file."""
    return _BASE.read_text(encoding="utf-8") + file.read_text(encoding="utf-8")
