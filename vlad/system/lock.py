"""A folder held by one process, so that two runs never write to it at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from vlad.errors import OutputError
from vlad.system.files import cannot_write


@contextmanager
def locked(folder: str | Path, wait: float = 0.0) -> Iterator[None]:
    """Hold a folder, made if need be; the system releases it however the process ends.

    The empty file .lock stays. If the file system has no locks, nothing is held.

    Args:
        wait: seconds to wait for another holder.

    Raises:
        OutputError: another process holds it, or it cannot be written to.
    """
    from filelock import FileLock, Timeout

    path = Path(folder) / ".lock"
    with ExitStack() as held:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(path, timeout=wait, preserve_lock_file=True))
        except Timeout as error:
            raise OutputError(
                f"another run is writing to {folder}; let it finish, or choose another folder."
            ) from error
        except OSError as error:
            # an error without a file is that of the lock: some network shares have none
            if error.filename is not None:
                raise cannot_write(folder, error) from error
        yield
