"""What a route refuses, and how errors become replies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from vlad.errors import VladError, VlmError
from vlad.serving import schemas
from vlad.serving.batching import Busy
from vlad.serving.detectors import Conflict
from vlad.serving.form import unreadable
from vlad.serving.guard import busy, problem

_REFUSALS = {
    400: "The body is not a multipart form.",
    401: "A valid API key is required.",
    403: "Without API keys, the service answers only this machine and its own page.",
    404: "There is no detector with this name, or no labelled image with this digest.",
    408: "The request did not arrive in time.",
    409: "The detector exists, or cannot be deleted or reloaded; there are too many; or the "
    "service keeps no labels.",
    413: "The request has too many bytes or images.",
    422: "A name is unknown, a field is missing or out of range, or no image can be used.",
    429: "The service is busy; Retry-After gives the seconds to wait.",
    502: "The vision-language model of the detector cannot be asked.",
    503: "The service is stopping; Retry-After gives the seconds to wait.",
    504: "The reply was not ready in time.",
    507: "The folder for labels is full, or cannot be written to.",
}
POSTED = (400, 408, 413, 422, 429, 502, 503, 504)  # of routes that take images


def refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What openapi.json says of these refusals, and of those that every route has."""
    return {c: {"model": schemas.Problem, "description": _REFUSALS[c]} for c in (401, 403, *codes)}


async def _invalid(request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return problem(422, f"{where}: {first['msg']}.")


async def _refused(request, error: HTTPException) -> Response:
    detail = error.detail
    if error.status_code == 400:  # from the parser of forms
        detail = unreadable(error)
    elif detail == HTTPStatus(error.status_code).phrase:  # from the router, which gives no reason
        root = request.scope.get("root_path", "")
        detail = f"Not found, or method not allowed; see {root}/openapi.json."
    reply = problem(error.status_code, detail)
    reply.headers.update(error.headers or {})
    return reply


async def _cannot(request, error: VladError) -> Response:
    return problem(422, str(error))


async def _unasked(request, error: VlmError) -> Response:
    return problem(502, str(error))


async def _conflict(request, error: Conflict) -> Response:
    return problem(409, str(error))


async def _busy(request, error: Busy) -> Response:
    return busy()


ANSWERS: dict[type[Exception], Callable[..., Awaitable[Response]]] = {
    RequestValidationError: _invalid,
    HTTPException: _refused,
    VladError: _cannot,
    VlmError: _unasked,
    Conflict: _conflict,
    Busy: _busy,
}
