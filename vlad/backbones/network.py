"""Load from the model hub or its cache, with one sentence for whatever goes wrong."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from vlad.backbones.refusals import first_line, refusal
from vlad.errors import BackboneError, VladError
from vlad.system.files import cache_write
from vlad.system.resources import cache_folder

OFFLINE = ("VLAD_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
ON = ("1", "true", "yes", "on")
PATIENCE = 4  # seconds to wait for the model hub
REMEDY = "give a local file as `backbone`, or use the built-in `backbone` vlad-tiny"
REMEMBERED = 300  # seconds for which a hub that was out of reach is not asked again in vain
_ALONE = threading.RLock()  # the settings of a hub client are those of all threads


def is_offline() -> bool:
    """Return whether the user forbade the network by one of the variables OFFLINE."""
    return any(os.environ.get(name, "").lower() in ON for name in OFFLINE)


def forbidden_by() -> str:
    """The first of the variables by which the user forbade the network."""
    return next(name for name in OFFLINE if os.environ.get(name, "").lower() in ON)


@contextmanager
def from_network(
    name: str,
    local: bool = False,
    stored: bool = False,
    what: str = "weights",
    remedy: str = REMEDY,
    folder: Path | None = None,
    whole: bool = False,
) -> Iterator[None]:
    """Turn any error of a hub client while it loads `name` into one sentence.

    Args:
        local: `name` is a folder, so nothing is downloaded.
        stored: its weights are in the local cache, so the hub is not needed.
        what: of `name` is loaded, for the sentence.
        remedy: what to do without the network, for the sentence.
        folder: where files are put, for the sentence; None is the local cache.
        whole: all that it needs is in the local cache, so the hub is not asked.

    Raises:
        BackboneError: whatever went wrong, and a download whose digest is wrong.
        OutputError: the cache or the folder cannot be written to.
    """
    from vlad.backbones.downloads import patient, verified

    offline = is_offline()
    with quiet(), contextlib.ExitStack() as stack:
        try:
            if whole or offline:
                stack.enter_context(without_hub())
            elif not local:
                if not stored:
                    print(
                        f"Fetching {name} from the model hub (kept for later commands).",
                        file=sys.stderr,
                    )
                    if not hub_answers(needed=True):
                        missing = f"Found no {what} of {name} on this disk"
                        raise unreachable(BackboneError, missing, remedy)
                elif not hub_answers():
                    stack.enter_context(without_hub())
                stack.enter_context(patient(wait=not stored))
                stack.enter_context(verified())
            yield
        except VladError:
            raise
        except Exception as error:
            if offline and not local:
                raise BackboneError(
                    f"Cannot load the {what} of {name}: they are not in the local cache and the "
                    f"network is forbidden ({forbidden_by()} is set); connect once, "
                    f"{remedy}."
                ) from error
            if not local and (found := refusal(BackboneError, name, error, folder)):
                raise found from error
            raise BackboneError(
                f"The {what} of {name} cannot be read ({first_line(error)}); get a new copy, or "
                "give another."
            ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep hub clients from logging each of their attempts, and other threads from using them."""
    with _ALONE:
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


def unreachable(refused: type[VladError], missing: str, remedy: str) -> VladError:
    """The error for a model hub, or a proxy before it, that does not answer.

    Args:
        missing: what cannot be had therefore, as the beginning of a sentence.
        remedy: what else to do.
    """
    host, port, proxied = _hub()
    if proxied:
        return refused(
            f"{missing}, and the proxy before the model hub ({host}:{port}) does not answer: "
            f"correct HTTPS_PROXY or HTTP_PROXY, add the hub to NO_PROXY, {remedy}."
        )
    return refused(
        f"{missing}, and the model hub ({host}) does not answer: connect to the network, {remedy}."
    )


def hub_answers(needed: bool = False) -> bool:
    """Whether the model hub can be reached.

    Args:
        needed: whether it is asked in any case; else a failure is remembered for a few minutes.
    """
    host, port, _ = _hub()
    try:
        mark = cache_folder() / "hub-out-of-reach"
    except RuntimeError:  # no place for a cache
        return _connects(host, port)
    place = f"{host}:{port}"
    with contextlib.suppress(OSError):
        recent = time.time() - mark.stat().st_mtime < REMEMBERED
        if not needed and recent and mark.read_text() == place:
            return False
    answers = _connects(host, port)
    with contextlib.suppress(OSError):
        if answers:
            mark.unlink(missing_ok=True)
        else:
            cache_write(mark, place.encode())
    return answers


def _hub() -> tuple[str, int, bool]:
    """Host and port of the model hub, or of the proxy before it, and whether it is one."""
    from huggingface_hub import constants

    address = urlsplit(constants.ENDPOINT)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all")
    proxied = bool(proxy) and not urllib.request.proxy_bypass(address.hostname or "")
    if proxy and proxied:
        address = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = address.port or (443 if address.scheme == "https" else 80)
    return address.hostname or "", port, proxied


def _connects(host: str, port: int) -> bool:
    """In a thread, as no timeout holds for the resolving of names."""
    found = []

    def attempt() -> None:
        with contextlib.suppress(OSError), socket.create_connection((host, port), PATIENCE):
            found.append(True)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return bool(found)


@contextmanager
def without_hub() -> Iterator[None]:
    """Lets the hub client look in its cache alone."""
    from huggingface_hub import constants

    with _ALONE:
        before = constants.HF_HUB_OFFLINE
        constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before
