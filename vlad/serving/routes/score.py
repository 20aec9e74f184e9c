"""POST /v1/score: images in, scores out."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from vlad.errors import ImageError
from vlad.serving import replies, schemas
from vlad.serving.batching import Busy, Found
from vlad.serving.recorder import record_of
from vlad.serving.routes.raw import ImageRoute, described, uploaded
from vlad.serving.routes.refusals import POSTED, refusals
from vlad.serving.routes.service import Service
from vlad.serving.routes.uploads import (
    LONGEST_WORDS,
    NAMED,
    PATTERN,
    Images,
    Words,
    check_count,
    names_of,
    readers,
)


class ScoreRoutes:
    """Scoring over HTTP."""

    def __init__(self, service: Service):
        self.service = service

    def router(self) -> APIRouter:
        router = APIRouter()
        route = partial(
            router.add_api_route, "/v1/score", methods=["POST"], response_model=schemas.Scored
        )
        route(self.score_body, route_class_override=ImageRoute, include_in_schema=False)
        route(
            self.score,
            responses=refusals(404, *POSTED),
            summary="Score images",
            openapi_extra=described(self.score_body),
        )
        return router

    async def score_body(
        self,
        request: Request,
        detector: Annotated[str | None, Query(pattern=PATTERN)] = None,
        category: Annotated[str | None, Query(min_length=1, max_length=LONGEST_WORDS)] = None,
        threshold: Annotated[float | None, Query(allow_inf_nan=False)] = None,
        map_threshold: Annotated[float | None, Query(allow_inf_nan=False)] = None,
        map_kind: Annotated[schemas.MapKind | None, Query(alias="map")] = None,
    ):
        """As `score`, for a body that is one image."""
        async with uploaded(request) as image:
            return await self.score(
                request, [image], detector, category, threshold, map_threshold, map_kind
            )

    async def score(
        self,
        request: Request,
        images: Images,
        detector: Annotated[str | None, NAMED] = None,
        category: Words = None,
        threshold: Annotated[float | None, Form(allow_inf_nan=False)] = None,
        map_threshold: Annotated[float | None, Form(allow_inf_nan=False)] = None,
        map_kind: Annotated[schemas.MapKind | None, Form(alias="map")] = None,
    ):
        """An image that cannot be used gets an error; if none can be used, the reply is 422. A body
        that is one image, with its own Content-Type, has the fields in the query."""
        service = self.service
        served = service.store.find(detector)
        if served is None:
            raise HTTPException(404, f"There is no detector {detector}; see GET /v1/detectors.")
        most = service.limits.share(len(service.store))
        check_count(images, most)
        record = record_of(request)
        record.detector, record.images = served.name, len(images)
        category = served.category(category)
        question = replies.Question(served, category, threshold, map_threshold, map_kind)
        reads = readers(images, served.detector, service.limits.max_pixels)
        try:
            waiting = service.batcher.submit(served.detector, category, reads, most)
        except Busy as error:
            if not error.own:
                raise
            why = f"Detector {served.name} is busy; try again in a second, or use another."
            raise HTTPException(429, why, {"Retry-After": "1"}) from None
        found = await asyncio.gather(*map(asyncio.wrap_future, waiting), return_exceptions=True)
        results: list[Found | str] = []
        for one in found:
            if isinstance(one, BaseException) and not isinstance(one, ImageError):
                raise one
            results.append(str(one) if isinstance(one, ImageError) else one)
        reply = await run_in_threadpool(question.answer, names_of(images), results)
        record.scores = [image.image_score for image in reply.images]
        record.verdicts = [image.verdict for image in reply.images]
        if served.calibration(category):  # else it does not hold for what they show
            drift = await run_in_threadpool(served.drift.add, results)
        else:
            drift = None
        current = service.store.find(served.name) is served  # neither deleted nor reloaded
        if current or not served.made:  # a deleted detector has no counts
            for image in reply.images:
                outcome = "failed" if image.error else image.verdict or "scored"
                service.metrics.images.labels(served.name, outcome).inc()
        if drift and current:
            service.metrics.show_drift(served.name, drift)
        if all(image.error for image in reply.images):
            others = f" None of the {len(images)} images can be used." if len(images) > 1 else ""
            raise HTTPException(422, f"{reply.images[0].error}{others}")
        return reply
