"""What the model hub, its client or the disk refuses, in one sentence that says what to do."""

from __future__ import annotations

import errno
import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from vlad.errors import OutputError, VladError
from vlad.system.text import shown

# of the place where downloads are kept, not of the network
DISK = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EEXIST),
)
CLIENTS = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "urllib")


def refusal(
    refused: type[VladError], name: str, error: BaseException, folder: Path | None = None
) -> VladError | None:
    """The error for what a hub client raised; None if it is none of hub, network or disk.

    Args:
        refused: its class.
        name: what was to be fetched or sent.
        folder: where it was to be put; None is the cache of the hub client.
    """
    for one in _chain(error):
        response = getattr(one, "response", None)
        if getattr(response, "status_code", 0):
            return _of_answer(refused, name, response)
        if type(one).__name__ == "OfflineModeIsEnabled":  # vlad's own doing, see from_network
            return refused(
                f"Not all of {name} is in the local cache, and the model hub does not answer; "
                "connect to the network."
            )
        if type(one).__module__.partition(".")[0] in CLIENTS or isinstance(one, ConnectionError):
            return _of_line(refused, name, one)
        if isinstance(one, OSError) and one.errno in DISK:
            return _of_disk(name, one, folder)
    return None


def first_line(error: BaseException) -> str:
    """The first line of an error's text, else its class."""
    return shown(next(iter(str(error).strip().splitlines()), type(error).__name__))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that libraries raised it around."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _of_answer(refused: type[VladError], name: str, response: Any) -> VladError:
    from huggingface_hub import constants

    from vlad.backbones.downloads import seconds_of

    status, code = response.status_code, response.headers.get("X-Error-Code", "")
    repository, file = _asked_for(str(response.url), name)
    signed = "authorization" in response.request.headers
    token = "HF_TOKEN" if os.environ.get("HF_TOKEN") else constants.HF_TOKEN_PATH
    page = f"{constants.ENDPOINT}/{repository}"
    if code == "GatedRepo" and signed:
        return refused(
            f"{repository} is gated, and your token ({token}) does not open it: ask for access on "
            f"{page} with the account of that token, and let a fine-grained token read gated "
            "repositories."
        )
    if code == "GatedRepo":
        return refused(
            f"{repository} is gated: ask for access on {page} (by accepting its licence there), "
            "then log in with `hf auth login` or set HF_TOKEN."
        )
    if status == 401 and signed and code != "RepoNotFound":
        return refused(
            f"The model hub does not accept your token ({token}): correct or remove it, or log in "
            "again with `hf auth login`."
        )
    if code == "EntryNotFound":
        return refused(
            f"{repository} on the model hub has no file {shown(file)}: choose another repository."
        )
    if status in (401, 403) and not signed and response.request.method == "POST":
        return refused(
            f"The model hub takes nothing for {name} from you without a token: set HF_TOKEN, or "
            "log in with `hf auth login`."
        )
    if status in (401, 404) and not signed:
        return refused(
            f"The model hub has no {repository}, or keeps it private: correct the name, or log in "
            "with `hf auth login` (or set HF_TOKEN) to see a private one."
        )
    if status == 404 or code == "RepoNotFound":
        return refused(
            f"The model hub has no {repository}, or does not show it to your token ({token}): "
            "correct the name, or get a token that may see it."
        )
    if status == 403 and signed:
        return refused(
            f"Your token ({token}) may not do this with {repository}; get one with the right to do "
            "it, or name a repository of your own."
        )
    if status == 429:
        wait = seconds_of(response)
        when = f"in {wait} s" if wait else "in a few minutes"
        return refused(
            f"The model hub has had too many requests from here (429) to fetch {repository}: "
            f"repeat the command {when}, or log in with `hf auth login`, which allows more."
        )
    words = shown(response.headers.get("X-Error-Message") or response.reason_phrase)
    return refused(
        f"The model hub failed or refused for {repository} ({status} {words}); repeat the command "
        "later."
    )


def _asked_for(url: str, name: str) -> tuple[str, str]:
    """The repository and the file that a request was for; else `name`, and none."""
    from huggingface_hub import constants

    path = unquote(urlsplit(url.removeprefix(constants.ENDPOINT)).path)
    found = re.match(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
    found = found or re.match(r"/api/(?:resolve-cache/)?models/([^/]+/[^/]+)()", path)
    return (found[1], found[2]) if found else (name, "")


def _of_line(refused: type[VladError], name: str, error: BaseException) -> VladError:
    if type(error).__name__ == "ProxyError":
        return refused(
            f"The proxy before the model hub refuses ({first_line(error)}): correct HTTPS_PROXY or "
            "HTTP_PROXY, or add the hub to NO_PROXY."
        )
    if any(isinstance(one, ssl.SSLError) for one in _chain(error)):
        return refused(
            f"The certificate of the model hub or of a proxy before it is not accepted "
            f"({first_line(error)}): set SSL_CERT_FILE to a file with the certificates of your "
            "network."
        )
    if "Timeout" in type(error).__name__:
        return refused(
            f"The model hub has stopped sending {name} ({first_line(error)}): repeat the command, "
            "or set HF_HUB_DOWNLOAD_TIMEOUT and HF_HUB_ETAG_TIMEOUT to more seconds than 10."
        )
    return refused(
        f"The connection to the model hub broke with {name} ({first_line(error)}): repeat the "
        "command, which keeps the files that are whole."
    )


def _of_disk(name: str, error: OSError, folder: Path | None) -> VladError:
    from huggingface_hub import constants

    reason = error.strerror or str(error)
    if folder is not None:
        return OutputError(
            f"Cannot write {name} to {folder} ({reason}): choose a folder that you may write to, "
            "with free space."
        )
    return OutputError(
        f"Cannot keep {name} in {error.filename or constants.HF_HUB_CACHE} ({reason}): free space "
        "there, or set HF_HOME to a folder that you may write to."
    )
