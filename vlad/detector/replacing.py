"""The files of a detector's folder replaced as a whole, and kept as versions.

    detector.json, memory.safetensors, ...
    versions/1, versions/2, ...   what was in the folder before, each a whole detector
    versions/next                 what the folder is about to become

The new files are first written in full as `versions/next`. From there they are moved into place one
by one. So what a killed process left is either the old detector, or completed by the next command.
Files that do not change are hard links, which take no space.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from vlad.errors import OutputError
from vlad.system.files import cannot_write
from vlad.system.lock import locked

VERSIONS = "versions"
_WAIT = 10.0  # seconds for another process that moves files into place
_NEXT, _MAKING, _KEEPING, _DONE = "next", ".making", ".keeping", ".done"


def numbers(folder: Path) -> list[int]:
    """The numbers of the kept versions, oldest first."""
    found = (folder / VERSIONS).glob("*")
    return sorted(int(path.name) for path in found if path.name.isdecimal())


def version_folder(folder: Path, number: int) -> Path:
    """Where a version is kept."""
    return folder / VERSIONS / str(number)


def replace_files(folder: Path, source: Path, change: Callable[[Path], object]) -> int:
    """Replace what is in a folder, and keep it; return the number of the kept version.

    Args:
        source: the folder whose files are the start of the new ones.
        change: turns a copy of `source`, given as a folder, into the new files; it may replace
            files and remove them, but not write into one.

    Raises:
        OutputError: another process replaces it, or a file cannot be written; the folder then
            holds what it held before.
    """
    with locked(folder):
        try:
            _complete(folder)
            making = folder / VERSIONS / _MAKING
            _link_tree(source, making)
            change(making)
            number = max(numbers(folder), default=0) + 1
            _link_tree(folder, folder / VERSIONS / _KEEPING)
            os.replace(folder / VERSIONS / _KEEPING, version_folder(folder, number))
            os.replace(making, folder / VERSIONS / _NEXT)
            _complete(folder)
        except OSError as error:
            raise cannot_write(folder, error) from error
    return number


def is_replaced(folder: Path) -> bool:
    """Whether files are moved into a folder now, or were when a process was killed."""
    return (folder / VERSIONS / _NEXT).is_dir()


def complete(folder: Path) -> None:
    """Finish a replacement that was stopped half-way, if there is one.

    Raises:
        OutputError: another process takes too long for it, or a file cannot be written.
    """
    if is_replaced(folder):
        try:
            with locked(folder, wait=_WAIT):
                _complete(folder)
        except OSError as error:
            raise cannot_write(folder, error) from error


def _complete(folder: Path) -> None:
    versions = folder / VERSIONS
    for name in (_MAKING, _KEEPING, _DONE):
        shutil.rmtree(versions / name, ignore_errors=True)
    new = versions / _NEXT
    if not new.is_dir():
        return
    files = {path.relative_to(new) for path in own_files(new)}
    for file in sorted(files):
        _link(new / file, folder / file)
    for path in own_files(folder):
        if path.relative_to(folder) not in files:
            path.unlink()
    os.replace(new, versions / _DONE)
    shutil.rmtree(versions / _DONE, ignore_errors=True)


def own_files(folder: Path) -> list[Path]:
    """The files in a folder, but for its versions and its lock."""
    return [
        path
        for top in folder.iterdir()
        if top.name not in (VERSIONS, ".lock")
        for path in (top, *(top.rglob("*") if top.is_dir() else ()))
        if path.is_file()
    ]


def _link_tree(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in own_files(source):
        _link(path, target / path.relative_to(source))


def _link(source: Path, target: Path) -> None:
    """Have a file at `target` too, in place of what is there; never half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.new")
    beside.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), beside)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, beside)
    os.replace(beside, target)
    beside.unlink(missing_ok=True)  # which stays if both were the same file


def check_version(folder: Path, number: int | None) -> int:
    """The number of a kept version; None is the latest.

    Raises:
        OutputError: there is none.
    """
    kept = numbers(folder)
    if not kept:
        raise OutputError(f"{folder} keeps no earlier version; keep copies of it, or fit it again.")
    if number is not None and number not in kept:
        listed = ", ".join(map(str, kept))
        raise OutputError(f"{folder} keeps no version {number}; choose from {listed}.")
    return kept[-1] if number is None else number
