"""What the model hub and its client refuse, in one sentence."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from vlad.backbones.weights import hub_answers, is_offline
from vlad.errors import HubError, VladError
from vlad.system.files import cannot_write
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
def explained(repository: str) -> Iterator[None]:
    """Turn what goes wrong at the hub into one sentence.

    Raises:
        HubError: the network is forbidden or down, the repository does not exist or is closed to
            the user, or the hub refused.
        OutputError: the disk is full.
    """
    if is_offline():
        raise HubError(
            f"{repository} is on the model hub, but the network is forbidden (VLAD_OFFLINE or "
            "HF_HUB_OFFLINE is set); leave that variable out."
        )
    if not hub_answers():
        raise HubError(
            f"The model hub does not answer, so {repository} is out of reach; connect to the "
            "network."
        )
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # hub clients log each of their attempts
    try:
        yield
    except VladError:
        raise
    except Exception as error:
        raise _as_sentence(repository, error) from error
    finally:
        logging.disable(before)


def _as_sentence(repository: str, error: BaseException) -> VladError:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    status = None
    inner: BaseException | None = error
    while inner is not None and status is None:  # what an upload raises stands around it
        status = getattr(getattr(inner, "response", None), "status_code", None)
        inner = inner.__cause__ or inner.__context__
    if isinstance(error, GatedRepoError):
        return HubError(
            f"{repository} is gated: ask for access on its page, and log in with `hf auth login`."
        )
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        return HubError(
            f"The model hub has no {repository}, or does not show it to you: check the name, or "
            "log in with `hf auth login`."
        )
    if status == 401:
        return HubError(
            f"The model hub takes nothing for {repository} without a valid token; set HF_TOKEN, "
            "or log in with `hf auth login`."
        )
    if status == 403:
        return HubError(
            f"Your token may not do this with {repository}; get one with the right to write, or "
            "name a repository of your own."
        )
    first: BaseException = error  # libraries raise further ones around it
    while first.__cause__ is not None:
        first = first.__cause__
    if isinstance(first, OSError) and first.errno in (errno.ENOSPC, errno.EDQUOT):
        return cannot_write(first.filename or repository, first)
    lines = str(first).strip().splitlines() or [type(first).__name__]
    return HubError(
        f"The model hub failed or refused for {repository} ({shown(lines[0])}); repeat the "
        "command later."
    )
