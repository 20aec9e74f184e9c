"""Where the data files that ship with vlad lie, how they are read, and where caches go."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Literal

from vlad.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PACKAGE = Path(__file__).resolve().parent


def data_folder(name: Literal["prompts", "adapters"]) -> Path:
    """The folder of shipped data: inside the installed package, or at the top of a checkout.

    Raises:
        InputError: the folder is in neither place, so the installation is incomplete.
    """
    for folder in (_PACKAGE / "_data" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise InputError(f"The {name} folder of vlad is missing beside {_PACKAGE}; install vlad again.")


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a UTF-8 TOML file, with or without a byte-order mark.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not UTF-8, or not TOML; the message says where.
    """
    return tomllib.loads(path.read_text(encoding="utf-8-sig"))


def cache_folder() -> Path:
    """`$VLAD_CACHE`, or vlad's folder in the place where the system keeps caches; may not exist.

    Raises:
        RuntimeError: there is no such place, because the user has no home folder.
    """
    if chosen := os.environ.get("VLAD_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        variable, default = "LOCALAPPDATA", "AppData/Local"
    elif sys.platform == "darwin":
        variable, default = "", "Library/Caches"
    else:
        variable, default = "XDG_CACHE_HOME", ".cache"
    base = Path(os.environ.get(variable, ""))
    # the XDG rules say to ignore a relative path there
    return (base if base.is_absolute() else Path.home() / default) / "vlad"
