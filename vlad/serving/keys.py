"""API keys: random, shown once, stored as hashes."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from vlad.errors import InputError
from vlad.system.files import cannot_write

_BYTES = 32  # random, so keys cannot be guessed and a plain hash is enough


def new_key(file: str | os.PathLike[str]) -> str:
    """Return a new key; add its hash and today's date to a file that only its owner may read.

    Raises:
        OutputError: the file cannot be written.
    """
    key = secrets.token_urlsafe(_BYTES)
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as lines:
            lines.write(f"{_digest(key)} {date.today()}\n")
    except OSError as error:
        raise cannot_write(file, error) from error
    return key


def read_keys(file: str | os.PathLike[str]) -> list[str]:
    """Return the hashes in a file of `new_key`; the rest of each line is a note.

    Raises:
        InputError: there is no such file, no hash in it, or a line that does not begin with one.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file} cannot be read as a file of API keys ({error}); make one with `new_key`."
        ) from error
    digests = [line.split()[0] for line in lines if line.strip()]
    if not digests or not all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests):
        raise InputError(
            f"{file} holds no API keys, or a line without one; add a key with `new_key`."
        )
    return digests


def is_known(key: str, digests: Sequence[str]) -> bool:
    """Whether a key's hash is among `digests`; takes the same time for every key."""
    digest = _digest(key)
    return any([hmac.compare_digest(digest, known) for known in digests])


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
