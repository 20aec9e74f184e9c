"""The data files that ship with vlad, readers of TOML and JSON, and the cache folder."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import sys
from pathlib import Path
from typing import Any, Literal

from vlad.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_TOML = 2**20  # bytes
_MAX_DOTS = 16  # in one key; the parser's time grows with their square
_QUOTED = re.compile(
    r'''"""(?:\\.|[^\\])*?(?:"""|\Z)|"(?:\\.|[^"\\\n])*"?'''
    r"""|'''.*?(?:'''|\Z)|'[^'\n]*'?|\#[^\n]*""",
    re.DOTALL,
)
_DOTTED = re.compile(rf"(?:\.[^.=,\n]*){{{_MAX_DOTS}}}\.")

_PACKAGE = Path(__file__).resolve().parent.parent


def data_folder(name: Literal["prompts", "adapters", "benchmarks"]) -> Path:
    """The folder of shipped data: inside the installed package, or at the top of a checkout.

    Raises:
        InputError: the folder is in neither place, so the installation is incomplete.
    """
    for folder in (_PACKAGE / "_data" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise InputError(f"The {name} folder of vlad is missing beside {_PACKAGE}; install vlad again.")


def check_regular(path: Path) -> None:
    """Raise OSError for a pipe, a device or a socket, which could be read forever."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a UTF-8 TOML file, with or without a byte-order mark.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not UTF-8, not TOML, or more than a file for people holds: over MAX_TOML
            bytes, nested too deeply, or whole numbers beyond 64 bits.
    """
    check_regular(path)
    with path.open("rb") as file:
        content = file.read(MAX_TOML + 1)
    if len(content) > MAX_TOML:
        raise ValueError(f"it has more than {MAX_TOML:,} bytes")
    text = content.decode("utf-8-sig").replace("\r\n", "\n")
    if _DOTTED.search(_QUOTED.sub("", text)):
        raise ValueError(f"a key has more than {_MAX_DOTS} dots")
    try:
        table = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    waiting: list[Any] = [table]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError("one of its whole numbers is beyond 64 bits")
    return table


def read_json(path: Path) -> Any:
    """The content of a UTF-8 JSON file; file names in it may hold any bytes.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON, or nested too deeply.
    """
    check_regular(path)
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig", "surrogateescape"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def cache_folder() -> Path:
    """`$VLAD_CACHE`, or vlad's folder where the system keeps caches; it may not exist.

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
