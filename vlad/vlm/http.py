"""JSON over HTTP to the one host that the user named: bounded in time, size and rate."""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from http.client import HTTPException
from ipaddress import ip_address
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

from vlad.errors import VlmError
from vlad.system.text import shown

KEY = "VLAD_VLM_KEY"
MAX_REPLY = 4 * 2**20  # bytes
MAX_WAIT = 60.0  # seconds that a server may ask to wait
PAUSE = 1.0  # seconds before a second try, if the server names none
BUSY = (429, 500, 502, 503, 504)
CLOSED = (401, 403)


class Unanswered(Exception):
    """One request without an answer; its text is a part of a sentence."""


class Refused(Unanswered):
    """One request that the server calls wrong."""


class Client:
    """Posts JSON to the endpoint at `address`, and never to another host.

    Args:
        address: http or https, without user, query or fragment.
        timeout: seconds for one reply.
        per_minute: most requests in a minute; None for any number.

    Attributes:
        is_here: whether the endpoint is on this machine.

    Raises:
        VlmError: an address or a key that cannot be used.
    """

    def __init__(self, address: str, timeout: float, per_minute: float | None) -> None:
        host = host_of(address)
        if per_minute is not None and not per_minute > 0:
            raise VlmError(f"per_minute is {per_minute}; give a number above 0.")
        self.address, self.timeout = address.rstrip("/"), timeout
        self.gap = 60 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()
        self._answered = False
        handlers: list[Any] = [_NoRedirect]
        self.is_here = _is_here(host)
        if self.is_here:
            handlers.append(urllib.request.ProxyHandler({}))  # a proxy is another machine
        self._opener = urllib.request.build_opener(*handlers)

    def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The JSON object that the endpoint replies with; tried twice if it is busy or broken.

        Raises:
            Unanswered: no reply, or one that is no such object; `Refused` for status 4xx.
            VlmError: an endpoint that never answered, wants another key, or sends elsewhere.
        """
        try:
            return self._once(path, body)
        except _Again as error:
            sleep(min(error.wait, MAX_WAIT))
        try:
            return self._once(path, body)
        except _Again as error:
            raise Unanswered(str(error)) from None

    def _once(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """As `_exchange`, in a thread, as no timeout holds for names and slow headers."""
        self._wait()
        found: Future[Mapping[str, Any]] = Future()

        def exchange() -> None:
            try:
                found.set_result(self._exchange(path, body))
            except Exception as error:
                found.set_exception(error)

        threading.Thread(target=exchange, daemon=True).start()
        try:
            return found.result(self.timeout)
        except (TimeoutError, FutureTimeout):
            raise _Again(f"the endpoint took longer than {self.timeout:g} s") from None

    def _exchange(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key := _key():
            headers["Authorization"] = f"Bearer {key}"
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/{path}", data, headers)
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                if "event-stream" in response.headers.get("Content-Type", ""):
                    raise Unanswered("the endpoint streams its reply")
                found = _object(self._read(response))
                self._answered = True
                return found
        except urllib.error.HTTPError as error:
            with error:
                raise self._status(error) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise error.reason from None
            if self._answered or isinstance(error.reason, ConnectionResetError | BrokenPipeError):
                raise _Again(f"the connection broke ({_plain(error.reason)})") from None
            raise VlmError(
                f"The endpoint {self.address} does not answer ({_plain(error.reason)}); check the "
                "address, and that the server runs."
            ) from None
        except TimeoutError:
            raise
        except (HTTPException, OSError) as error:
            raise _Again(f"the connection broke ({_plain(error)})") from None

    def _read(self, response: Any) -> bytes:
        """The body of a reply, within its bounds of size."""
        parts: list[bytes] = []
        size = 0
        while part := response.read1(2**16):
            parts.append(part)
            size += len(part)
            if size > MAX_REPLY:
                raise Unanswered(f"the endpoint's reply is over {MAX_REPLY:,} bytes")
        return b"".join(parts)

    def _status(self, error: urllib.error.HTTPError) -> Exception:
        """What a status other than 200 is raised as."""
        if error.code in CLOSED:
            state = "does not accept the key" if _key() else "wants a key"
            return VlmError(
                f"The endpoint {self.address} {state} (status {error.code}); set {KEY} to a valid "
                "one."
            )
        if 300 <= error.code < 400:
            return VlmError(
                f"The endpoint {self.address} redirects to another address, which vlad does not "
                "follow; give the final address."
            )
        if error.code == 404:
            said = self._said(error)
            return VlmError(
                f"The endpoint {self.address} has no such model or path ({said}); check the "
                "address, with its version as in /v1, and the name of the model."
            )
        if error.code in BUSY:
            wait = _seconds(error.headers.get("Retry-After"))
            return _Again(f"the endpoint replied with status {error.code}", wait)
        said = self._said(error)
        return Refused(f"the endpoint replied with status {error.code} ({said})")

    def _said(self, error: urllib.error.HTTPError) -> str:
        """The first line of an error's body, without the key, which some servers repeat."""
        try:
            text = self._read(error).decode("utf-8", "replace").strip()
        except (Unanswered, HTTPException, OSError):
            text = ""
        line = next(iter(text.splitlines()), "no reason given")
        try:
            said = json.loads(text)["error"]
            line = said["message"] if isinstance(said, dict) else str(said)
        except (ValueError, LookupError, TypeError):
            pass
        key = _key()
        return shown(str(line).replace(key, "...") if key else line)

    def _wait(self) -> None:
        """Wait for this request's place in the minute."""
        with self._lock:
            now = monotonic()
            start = max(now, self._next)
            self._next = start + self.gap
        sleep(start - now)


def host_of(address: str) -> str:
    """The host of the address of an endpoint, in small letters.

    Raises:
        VlmError: an address that cannot be used; a user or password in it is not repeated.
    """
    said = "This"
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        said = shown(parts._replace(netloc=host, query="", fragment="").geturl())
        _ = parts.port, host.encode("idna")
    except ValueError:
        host = ""
    extras = parts.username or parts.password or parts.query or parts.fragment if host else ""
    written = address.isascii() and address.isprintable() and " " not in address
    if not host or extras or not written or parts.scheme not in ("http", "https"):
        raise VlmError(
            f"{said} is no address of an endpoint; give one such as http://127.0.0.1:8000/v1, and "
            f"a key as {KEY}."
        )
    return host


class _Again(Unanswered):
    """A request that may be answered if it is sent again after `wait` seconds."""

    def __init__(self, text: str, wait: float | None = None) -> None:
        super().__init__(text)
        self.wait = PAUSE if wait is None else wait


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise _Again("the endpoint's reply is not JSON") from None
    if not isinstance(found, dict):
        raise Unanswered("the endpoint's reply is not a JSON object")
    return found


def _key() -> str:
    """The key of the endpoint, or "".

    Raises:
        VlmError: it cannot be sent.
    """
    key = os.environ.get(KEY, "").strip()
    if not key.isascii() or not key.isprintable():
        raise VlmError(f"{KEY} has characters that a key cannot have; set it again.")
    return key


def _seconds(value: str | None) -> float | None:
    """Seconds that Retry-After asks for; a date there counts as none."""
    try:
        return max(0.0, float(value or ""))
    except ValueError:
        return None


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _plain(error: Any) -> str:
    return shown(getattr(error, "strerror", None) or error or type(error).__name__)
