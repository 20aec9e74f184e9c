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
def beside(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`, deleted at the end.

    Raises:
        OutputError: the place cannot be written to.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def placed(folder: Path) -> Iterator[Path]:
    """An empty folder that becomes `folder` at the end, or is deleted after an error.

    Raises:
        OutputError: `folder` is a file or has files, or cannot be written.
    """
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise OutputError(f"{folder} is there already; choose another folder, or move it away.")
    with beside(folder) as made:
        yield made
        try:
            made.chmod(0o777 & ~_umask())  # mkdtemp closes it to others
            if folder.is_dir():
                folder.rmdir()
            os.replace(made, folder)
        except OSError as error:
            raise cannot_write(folder, error) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
