"""POST /v1/score: images in, scores out."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from vlad.errors import ImageError
from vlad.serving import replies, schemas
from vlad.serving.batching import Busy, Found
from vlad.serving.recorder import record_of
from vlad.serving.routes.raw import image_routes, uploaded
from vlad.serving.routes.service import Service
from vlad.serving.routes.uploads import (
    NAMED,
    Images,
    NameInQuery,
    Words,
    WordsInQuery,
    check_usable,
    names_of,
    readers,
)


class ScoreRoutes:
    """Scoring over HTTP."""

    def __init__(self, service: Service):
        self.service = service

    def router(self) -> APIRouter:
        return image_routes(
            "/v1/score", self.score, self.score_body, schemas.Scored, "Score images"
        )

    async def score_body(
        self,
        request: Request,
        detector: NameInQuery = None,
        category: WordsInQuery = None,
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
        served = service.asked(request, images, detector)
        category = served.category(category)
        question = replies.Question(served, category, threshold, map_threshold, map_kind)
        reads = readers(images, served.detector, service.limits.max_pixels)
        try:
            waiting = service.batcher.submit(served.detector, category, reads, service.most)
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
        record = record_of(request)
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
        check_usable([image.error for image in reply.images])
        return reply
