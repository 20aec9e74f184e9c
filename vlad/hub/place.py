"""A folder that is fetched beside its place, and put there only when it is whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vlad.errors import OutputError
from vlad.system.files import cannot_write


@contextmanager
def placed(folder: Path) -> Iterator[Path]:
    """An empty folder that becomes `folder` at the end, or is deleted after an error.

    Raises:
        OutputError: `folder` is a file or has files, or cannot be written.
    """
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise OutputError(f"{folder} is there already; choose another folder, or move it away.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield beside
        try:
            beside.chmod(0o777 & ~_umask())  # mkdtemp closes it to others
            if folder.is_dir():
                folder.rmdir()
            os.replace(beside, folder)
        except OSError as error:
            raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
