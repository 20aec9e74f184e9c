"""The script of a page, from small files with one job each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_JS = Path(__file__).with_name("js")


def script(names: Iterable[str], folder: Path = _JS) -> str:
    """The files of these names in a folder, in order, as one script that leaves nothing global.

    Args:
        names: file names without ".js"; what a file uses stands before it.
    """
    parts = [(folder / f"{name}.js").read_text(encoding="utf-8") for name in names]
    return '(function () {\n"use strict";\n' + "\n".join(parts) + "})();\n"
