"""What the model hub and its client refuse, in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vlad.backbones.downloads import patient
from vlad.backbones.network import forbidden_by, hub_answers, is_offline, quiet, unreachable
from vlad.backbones.refusals import first_line, refusal
from vlad.errors import HubError, VladError
from vlad.system.text import shown

_NAME = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"


def check_name(repository: str) -> None:
    """Check that a repository is written as OWNER/NAME.

    Raises:
        HubError: it is not.
    """
    if not re.fullmatch(_NAME, repository, re.ASCII) or len(repository) > 96:
        raise HubError(
            f"{shown(repository)!r} names no repository of the model hub; write it as OWNER/NAME."
        )


@contextmanager
def explained(repository: str, folder: Path | None = None) -> Iterator[None]:
    """Turn what goes wrong at the hub into one sentence.

    Args:
        folder: where files are put, if any.

    Raises:
        HubError: the network is forbidden or down, the repository does not exist or is closed to
            the user, or the hub refused.
        OutputError: the disk is full, or the folder cannot be written to.
    """
    if is_offline():
        raise HubError(
            f"{repository} is on the model hub, but the network is forbidden ({forbidden_by()} is "
            "set); leave that variable out."
        )
    if not hub_answers(needed=True):
        raise unreachable(HubError, f"{repository} is out of reach", "then repeat the command")
    with quiet(), patient(wait=True):
        try:
            yield
        except VladError:
            raise
        except Exception as error:
            if found := refusal(HubError, repository, error, folder):
                raise found from error
            raise HubError(
                f"The model hub failed or refused for {repository} ({first_line(error)}); repeat "
                "the command later."
            ) from error
