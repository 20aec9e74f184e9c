"""An id for every request, and what the log tells of it."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vlad.serving.log import RequestLog

ID_HEADER = "X-Request-Id"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+/=-]{0,127}")
_LONGEST = 200  # characters of a path in the log


@dataclass
class Record:
    """What a route adds to the line of its request; names and content of images stay out.

    Attributes:
        images: number of images that were sent.
        scores, verdicts: of each image; None for one without.
    """

    detector: str | None = None
    images: int | None = None
    scores: list[float | None] | None = None
    verdicts: list[str | None] | None = None


def record_of(request: Request) -> Record:
    """The record of a request."""
    return request.state.record


class Recorder:
    """Answers every request with its id, and logs it once it is answered.

    Args:
        app: the application that answers.
        log: where the lines go; None logs nothing.
    """

    def __init__(self, app: ASGIApp, *, log: RequestLog | None):
        self.app = app
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, begun = time.perf_counter(), datetime.now(timezone.utc)
        given = Headers(scope=scope).get(ID_HEADER, "")
        # any other text could forge lines of a log somewhere
        name = given if _ID.fullmatch(given) else uuid.uuid4().hex
        record = Record()
        scope.setdefault("state", {})["record"] = record
        status = 500  # what the server answers if the application fails

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[ID_HEADER] = name
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            if self.log:
                line: dict[str, Any] = {
                    "time": f"{begun:%FT%T.%fZ}",
                    "id": name,
                    "method": scope["method"],
                    "path": scope["path"][:_LONGEST],
                    "status": status,
                    "milliseconds": round(1000 * (time.perf_counter() - start), 1),
                }
                told = {name: value for name, value in vars(record).items() if value is not None}
                self.log.write({**line, **told})
