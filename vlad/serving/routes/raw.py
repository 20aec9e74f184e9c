"""A request whose body is an image, without a form."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import Any, get_type_hints

from fastapi import APIRouter, Request, UploadFile, params
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import Scope

from vlad.serving.routes.refusals import POSTED, refusals

_IN_MEMORY = 1 << 20  # bytes of a body that are not written to a temporary file, as of a form's


class _ImageRoute(APIRoute):
    """A route for requests whose Content-Type is image/*; others go to the next of its path."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        kind = Headers(scope=scope).get("content-type", "")
        return super().matches(scope) if kind.lower().startswith("image/") else (Match.NONE, {})


@asynccontextmanager
async def uploaded(request: Request) -> AsyncIterator[UploadFile]:
    """The body of a request, as a form would have it: a file without a name."""
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as body:
        file = UploadFile(body)  # type: ignore[arg-type]
        try:
            async for part in request.stream():
                await file.write(part)
        except ClientDisconnect:
            raise HTTPException(400) from None  # nobody reads the reply
        await file.seek(0)
        yield file


def image_routes(path: str, form: Callable, body: Callable, model: type, summary: str) -> APIRouter:
    """The endpoint of a form with images, and the one for a body that is an image."""
    router = APIRouter()
    route = partial(router.add_api_route, path, methods=["POST"], response_model=model)
    route(body, route_class_override=_ImageRoute, include_in_schema=False)
    route(form, responses=refusals(404, *POSTED), summary=summary, openapi_extra=_described(body))
    return router


def _described(endpoint: Callable) -> dict[str, Any]:
    """What openapi.json adds to the form's route: the body and the query of an `_ImageRoute`."""
    hints = get_type_hints(endpoint, include_extras=True)
    return {
        "requestBody": {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}},
        "parameters": [
            {
                "name": mark.alias or name,
                "in": "query",
                "description": "The field of the form, for a body that is an image.",
                "schema": TypeAdapter(hint).json_schema(),
            }
            for name, hint in hints.items()
            for mark in getattr(hint, "__metadata__", ())
            if isinstance(mark, params.Query)
        ],
    }
