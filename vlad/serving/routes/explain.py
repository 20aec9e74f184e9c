"""POST /v1/explain: images in, the reasons of their scores out."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Request
from PIL import Image

from vlad.detector import Detector
from vlad.errors import ImageError
from vlad.reasons import Explanation
from vlad.results.reasons import PARTS, without_folders
from vlad.serving import schemas
from vlad.serving.guard import busy
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
from vlad.serving.threads import in_turn


class ExplainRoutes:
    """Reasons over HTTP."""

    def __init__(self, service: Service):
        self.service = service

    def router(self) -> APIRouter:
        summary = "Explain the scores of images"
        return image_routes(
            "/v1/explain", self.explain, self.explain_body, schemas.Explained, summary
        )

    async def explain_body(
        self, request: Request, detector: NameInQuery = None, category: WordsInQuery = None
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
        served = service.asked(request, images, detector)
        if service.explaining.locked():
            return busy()
        category = served.category(category)
        reads = readers(images, served.detector, service.limits.max_pixels)
        found = await in_turn(service.explaining, _explained, served.detector, reads, category)
        check_usable([one if isinstance(one, str) else None for one in found])
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
