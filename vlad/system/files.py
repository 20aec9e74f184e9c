"""Writing a file so that it is either there in full or not there at all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from vlad.errors import OutputError


def atomic_write(
    path: str | Path,
    content: bytes | Callable[[BinaryIO], object],
    through: Path | None = None,
) -> Path:
    """Write `path` through a temporary file beside it; missing folders are made.

    Args:
        content: the bytes, or a function that writes them into an open binary file.
        through: an existing folder for the temporary file instead.

    Raises:
        OutputError: the place cannot be written to; an existing file stays unchanged.
    """
    path = Path(path)
    # one fixed name per target: what a killed process left behind is overwritten by the next one
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()
    temporary = (through or path.parent) / f".{digest[:16]}.tmp"
    try:
        if through is None:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            raw = io.FileIO(temporary, "w")
            with _Written(raw) as file:
                if callable(content):
                    content(file)
                else:
                    file.write(content)
                file.flush()
                os.fsync(raw.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise cannot_write(path, error) from error
    return path


class _Written(io.BufferedWriter):
    """A file without a descriptor: if Pillow and NumPy have one, they write to it themselves, and
    cut the file short without an error if the disk is full."""

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")


def cache_write(path: Path, content: bytes) -> None:
    """Write a file that several processes may write at once; none ever reads half of it.

    Raises:
        OSError: the place cannot be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, read in pieces.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def cannot_write(path: str | os.PathLike[str], error: OSError) -> OutputError:
    """The OutputError for an OSError met while writing `path`."""
    reason = error.strerror or str(error)
    return OutputError(
        f"cannot write {path} ({reason}); choose a folder you may write to, with free space."
    )


def check_writable(out: str | Path) -> None:
    """Check that a folder can be made at `out`, or written to, before anything is computed.

    Raises:
        OutputError: a part of the path is a file, or may not be written to.
    """
    out = Path(out)
    nearest = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        raise OutputError(f"cannot write {out}: {nearest} is a file; choose another folder.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {out}: {nearest} is not writable; choose another folder.")


def check_file(path: str | None) -> None:
    """Check that a file may be made at `path`, before anything is computed.

    Raises:
        OutputError: it is a folder.
    """
    if path and os.path.isdir(path):
        raise OutputError(f"cannot write {path}: it is a folder; name a file.")
