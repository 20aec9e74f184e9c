"""Secrets from a file or an environment variable, so that they stand on no command line."""

from __future__ import annotations

import os
from pathlib import Path

from vlad.errors import InputError


def read_secret(file: str | os.PathLike[str] | None, variable: str, of: str) -> bytes | None:
    """The content of a file without white space around it, else of the environment variable, else
    None.

    Args:
        of: what the secret is of, in an error.

    Raises:
        InputError: the file cannot be read, or the secret is empty.
    """
    if file is None:
        where, given = variable, os.environ.get(variable)
        secret = None if given is None else os.fsencode(given)
    else:
        where = str(file)
        try:
            secret = Path(file).read_bytes()
        except (OSError, ValueError) as error:
            raise InputError(
                f"{file} cannot be read as the secret of the {of} ({error}); check its path."
            ) from error
    if secret is not None and not secret.strip():
        raise InputError(f"{where} holds no secret for the {of}; put the secret there.")
    return secret and secret.strip()
