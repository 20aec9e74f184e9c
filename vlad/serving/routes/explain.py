"""POST /v1/explain: images in, the reasons of their scores out."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from PIL import Image
from starlette.exceptions import HTTPException

from vlad.detector import Detector
from vlad.errors import ImageError
from vlad.reasons import Explanation
from vlad.results.reasons import PARTS, without_folders
from vlad.serving import schemas
from vlad.serving.guard import busy
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
from vlad.serving.threads import in_turn


class ExplainRoutes:
    """Reasons over HTTP."""

    def __init__(self, service: Service):
        self.service = service

    def router(self) -> APIRouter:
        router = APIRouter()
        route = partial(
            router.add_api_route, "/v1/explain", methods=["POST"], response_model=schemas.Explained
        )
        route(self.explain_body, route_class_override=ImageRoute, include_in_schema=False)
        route(
            self.explain,
            responses=refusals(404, *POSTED),
            summary="Explain the scores of images",
            openapi_extra=described(self.explain_body),
        )
        return router

    async def explain_body(
        self,
        request: Request,
        detector: Annotated[str | None, Query(pattern=PATTERN)] = None,
        category: Annotated[str | None, Query(min_length=1, max_length=LONGEST_WORDS)] = None,
    ):
        """As `explain`, for a body that is one image."""
        async with uploaded(request) as image:
            return await self.explain(request, [image], detector, category)

    async def explain(
        self,
        request: Request,
        images: Images,
        detector: Annotated[str | None, NAMED] = None,
        category: Words = None,
    ):
        """One request is explained at a time, beside the scoring of others; until it is done, the
        reply to another one is 429. An image that cannot be used gets an error; if none can be
        used, the reply is 422."""
        service = self.service
        served = service.store.find(detector)
        if served is None:
            raise HTTPException(404, f"There is no detector {detector}; see GET /v1/detectors.")
        check_count(images, service.limits.share(len(service.store)))
        record = record_of(request)
        record.detector, record.images = served.name, len(images)
        if service.explaining.locked():
            return busy()
        category = served.category(category)
        reads = readers(images, served.detector, service.limits.max_pixels)
        found = await in_turn(service.explaining, _explained, served.detector, reads, category)
        if all(isinstance(one, str) for one in found):
            others = f" None of the {len(images)} images can be used." if len(images) > 1 else ""
            raise HTTPException(422, f"{found[0]}{others}")
        return schemas.Explained(
            detector=served.name,
            head=served.detector.head_.name,
            category=category,
            images=[
                schemas.ExplainedImage(name=name, error=one)
                if isinstance(one, str)
                else schemas.ExplainedImage(name=name, **one)
                for name, one in zip(names_of(images), found, strict=True)
            ],
        )


def _explained(
    detector: Detector, reads: Sequence[partial[Image.Image]], category: str | None
) -> list[dict[str, Any] | str]:
    """What is said of each image, or why nothing is."""
    found: list[dict[str, Any] | str] = []
    for read in reads:
        try:
            found.append(_told(detector.explain(read(), category=category)))
        except ImageError as error:
            found.append(str(error))
    return found


def _told(explanation: Explanation) -> dict[str, Any]:
    told = explanation.as_dict()
    regions = [
        {
            **without_folders(values),
            **{part: crop and _jpeg(crop) for part in PARTS for crop in [getattr(region, part)]},
        }
        for values, region in zip(told["regions"], explanation.regions, strict=True)
    ]
    return {**{key: told[key] for key in told.keys() - {"image", "head"}}, "regions": regions}


def _jpeg(crop: Image.Image) -> str:
    file = io.BytesIO()
    crop.convert("RGB").save(file, "JPEG", quality=85)
    return base64.b64encode(file.getvalue()).decode()
