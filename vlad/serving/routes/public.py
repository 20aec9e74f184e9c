"""The page, and what probes ask; these routes need no key."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from vlad import __version__
from vlad.serving import schemas
from vlad.serving.guard import stopping
from vlad.serving.page import page
from vlad.serving.routes.refusals import refusals
from vlad.serving.traffic import Traffic


def public_routes(traffic: Traffic) -> APIRouter:
    """The routes that need no key."""
    router = APIRouter()
    html, policy = page()

    @router.get("/", include_in_schema=False)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    @router.get("/healthz", responses=refusals(422), summary="Check that the service is up")
    async def health() -> schemas.Health:
        return schemas.Health(version=__version__)

    @router.get(
        "/readyz",
        response_model=schemas.Ready,
        responses=refusals(422, 503),
        summary="Check that the service takes requests",
    )
    async def ready() -> schemas.Ready | Response:
        return stopping() if traffic.draining else schemas.Ready()

    return router
