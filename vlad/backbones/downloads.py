"""How downloads from the model hub wait, and are checked."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vlad.errors import BackboneError
from vlad.system.files import file_sha256

LONGEST = 300  # seconds to wait at most; the hub counts requests over as many
BUSY = (408, 429, 500, 502, 503, 504)  # status codes after which the hub client tries again
SHA256 = re.compile("[0-9a-f]{64}")


@contextmanager
def patient(wait: bool) -> Iterator[None]:
    """Say once that the hub makes its client wait, which it does in silence.

    Args:
        wait: for up to LONGEST; a longer time that the hub asks for, or any without `wait`, is an
            error at once.
    """
    from huggingface_hub import get_session
    from huggingface_hub.utils import hf_raise_for_status

    said: list[int] = []

    def look(response: Any) -> None:
        status = response.status_code
        if status not in BUSY:
            return
        if not wait or (seconds_of(response) or 0) > LONGEST:
            hf_raise_for_status(response)
        if not said:
            words = f"The model hub answers {status} {response.reason_phrase}; trying again."
            print(words, file=sys.stderr)
            said.append(status)

    client = get_session()
    before = client.event_hooks
    client.event_hooks = {**before, "response": [*before["response"], look]}
    try:
        yield
    finally:
        client.event_hooks = before


def seconds_of(response: Any) -> int | None:
    """How long the hub asks to wait; None if it does not say."""
    if (after := response.headers.get("Retry-After", "")).isdecimal():
        return int(after)
    limit = re.search(r"\br=0;t=(\d+)", response.headers.get("RateLimit", ""))
    return int(limit[1]) if limit else None


def first_of(repository: str, files: Iterable[str]) -> None:
    """Download the first of some files that a repository has, if any."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for file in files if repository else ():
        try:
            hf_hub_download(repository, file)
        except LocalEntryNotFoundError:  # of the same family, but the hub failed
            raise
        except EntryNotFoundError:
            continue
        return


@contextmanager
def verified() -> Iterator[None]:
    """Check the SHA-256 of each file that comes into the cache of the hub client, which does not.

    Raises:
        BackboneError: a file has another than the hub stated; it is removed.
    """
    before = {*_blobs()}
    try:
        yield
    finally:
        for blob in _blobs():
            if blob not in before:
                check(blob, blob.name, blob.parent.parent.name.partition("--")[2])


def _blobs() -> Iterator[Path]:
    """The files of models in the cache that are named by their SHA-256."""
    from huggingface_hub import constants

    found = Path(constants.HF_HUB_CACHE).glob("models--*/blobs/*")
    return (path for path in found if SHA256.fullmatch(path.name))


def check(file: Path, stated: str, repository: str) -> None:
    """Remove a downloaded file whose SHA-256 is not the stated one.

    Raises:
        BackboneError: it was not.
    """
    if (digest := file_sha256(file)) != stated:
        file.unlink()
        raise BackboneError(
            f"A file of {repository.replace('--', '/')} arrived with the SHA-256 {digest[:12]}, "
            f"where the model hub states {stated[:12]}, and was removed; repeat the command."
        )
