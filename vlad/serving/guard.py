"""Checks that every request passes before its body is read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from email.message import Message as Mail
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vlad.serving.address import is_loopback
from vlad.serving.keys import is_known
from vlad.serving.limits import Limits
from vlad.serving.metrics import Metrics
from vlad.serving.traffic import Traffic

_METHODS = ("GET", "HEAD", "POST", "DELETE")
_OPEN = ("/", "/healthz", "/readyz")  # paths that need no key
SLACK = 64  # bytes that may follow the last line of a form
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


@dataclass(eq=False, repr=False)
class Guard:
    """Refuses requests without a key, from other sites, or too large, too many or too slow.

    With keys, clients may connect from anywhere. Without, the service listens to this machine
    only, and the danger is another site's page in a browser here: its requests carry that site's
    Origin, or a Host name that was pointed at this machine (DNS rebinding).

    Args:
        app: the application that answers.
        keys: hashes of API keys (see `vlad.serving.keys`); None requires no key.
    """

    app: ASGIApp
    _: KW_ONLY
    limits: Limits
    metrics: Metrics
    traffic: Traffic
    keys: Sequence[str] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), None
        method = scope["method"] if scope["method"] in _METHODS else "other"
        if method == "HEAD":  # answered as GET; the server leaves the body out
            scope = {**scope, "method": "GET"}
        given = Headers(scope=scope)
        left = self.limits.max_bytes
        # a request without a body has arrived
        uploaded = given.get("content-length", "0") == "0" and "transfer-encoding" not in given
        end, tail = _end_of_form(scope), b""

        async def limited() -> Message:
            nonlocal left, uploaded, tail
            message = await receive()
            uploaded = not message.get("more_body", False)
            body = message.get("body", b"")
            left -= len(body)
            if left < 0:
                raise HTTPException(413, self._too_large)
            tail = (tail + body)[-len(end) - SLACK :]
            # the parser would drop the last part without a word
            if uploaded and message["type"] == "http.request" and end not in tail:
                raise HTTPException(
                    400, "The form ends in the middle of a part; send it again, with its last line."
                )
            return message

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._refusal(scope) or self.app
        posted = scope["method"] == "POST"
        self.traffic.posted += posted
        try:
            await asyncio.wait_for(answer(scope, limited, noted), self.limits.timeout)
        except asyncio.TimeoutError:
            if status is None:
                late = problem(504, "It took too long; send fewer images, or try again later.")
                slow = problem(408, "The request did not arrive in time; send fewer images.")
                await (late if uploaded else slow)(scope, receive, noted)
        finally:
            self.traffic.posted -= posted
            # an unknown path could be any text
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(method, route, str(status or 500)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - start)

    @property
    def _too_large(self) -> str:
        return f"The request exceeds {self.limits.max_bytes:,} bytes; send fewer images at once."

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        if self.keys is None:
            if not is_loopback(_split(f"//{headers.get('host', '')}").hostname or ""):
                return problem(403, "This service answers to localhost only; use that name.")
            origin = headers.get("origin")
            if origin is not None and _split(origin).netloc != headers["host"]:
                return problem(403, "This service answers to its own page only.")
        elif scope["path"].removeprefix(scope.get("root_path", "")) not in _OPEN:
            kind, _, key = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not is_known(key.strip(), self.keys):
                refusal = problem(401, "A valid API key is needed; send Authorization: Bearer KEY.")
                refusal.headers["WWW-Authenticate"] = "Bearer"
                return refusal
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.limits.max_bytes:
            return problem(413, self._too_large)
        if scope["method"] == "POST":
            if self.traffic.draining:
                return stopping()
            if self.traffic.posted >= self.limits.queue:
                return busy()
        return None


def _end_of_form(scope: Scope) -> bytes:
    """The line that ends a multipart form; empty for another body."""
    kind = Mail()
    kind["content-type"] = Headers(scope=scope).get("content-type", "")
    boundary = kind.get_param("boundary")
    if kind.get_content_maintype() != "multipart" or not isinstance(boundary, str):
        return b""
    return f"--{boundary}--".encode("latin-1", "replace")


def problem(status: int, sentence: str) -> JSONResponse:
    """A reply with one sentence."""
    return JSONResponse({"detail": sentence}, status)


def busy() -> JSONResponse:
    """The reply when there is no room for a request."""
    refusal = problem(429, "The service is busy; try again in a second.")
    refusal.headers["Retry-After"] = "1"
    return refusal


def stopping() -> JSONResponse:
    """The reply when the service finishes what it began and takes nothing more."""
    refusal = problem(503, "The service is stopping; send it to another, or again after a restart.")
    refusal.headers["Retry-After"] = "5"
    return refusal


def _split(url: str) -> SplitResult:
    """The parts of a URL; all empty if it is not one."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
