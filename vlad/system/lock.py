"""A folder held by one process, so that two runs never write to it at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vlad.errors import OutputError
from vlad.system.files import cannot_write


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Holds a folder, which is made if need be; the system lets go of it however the process ends.

    The empty file .lock stays. Where the file system has no locks nothing is held.

    Raises:
        OutputError: another process holds it, or it cannot be written to.
    """
    path = Path(folder) / ".lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        try:
            _lock(handle)
        except (BlockingIOError, PermissionError) as error:
            raise OutputError(
                f"another run is writing to {folder}; let it end, or choose another folder."
            ) from error
        except OSError:  # some network shares have none, and are written to nevertheless
            pass
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
