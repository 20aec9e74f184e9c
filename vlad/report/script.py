"""The script of a page, from small files with one job each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_JS = Path(__file__).with_name("js")


def script(names: Iterable[str], folder: Path = _JS) -> str:
    """The files of these names in a folder, in order, as one script that leaves nothing global.

    Args:
        names: file names without ".js"; what a file uses stands before it. One that the folder
            lacks is a file that all pages share.
    """
    files = (folder / f"{name}.js" for name in names)
    parts = [(f if f.exists() else _JS / f.name).read_text(encoding="utf-8") for f in files]
    return '(function () {\n"use strict";\n' + "\n".join(parts) + "})();\n"
