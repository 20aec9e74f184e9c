"""/v1/labels: what people say about images."""

from __future__ import annotations

from functools import partial
from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, File, Form, Path, UploadFile
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from vlad.errors import OutputError
from vlad.images import read_image
from vlad.images.decode import is_image_name
from vlad.serving import schemas
from vlad.serving.limits import MAX_NAME
from vlad.serving.review import Labels
from vlad.serving.routes.refusals import POSTED, refusals
from vlad.serving.routes.service import Service

_PLAIN = r"^[^\x00-\x1f\x7f]*$"  # in one line of a table
Kind = Annotated[str, Form(max_length=100, pattern=_PLAIN, description="Kind of defect.")]
By = Annotated[str, Form(max_length=100, pattern=_PLAIN, description="Name of the person.")]


class LabelRoutes:
    """Labels over HTTP, kept if the service has a folder for them."""

    def __init__(self, service: Service):
        self.service = service

    def router(self) -> APIRouter:
        router = APIRouter()
        router.add_api_route(
            "/v1/labels",
            self.add,
            methods=["POST"],
            status_code=201,
            response_model=schemas.Label,
            responses=refusals(409, 507, *POSTED),
            summary="Label an image",
        )
        router.add_api_route(
            "/v1/labels/{digest}",
            self.take_back,
            methods=["DELETE"],
            status_code=204,
            response_class=Response,
            responses=refusals(400, 404, 408, 409, 413, 422, 504, 507),
            summary="Take back a person's label of an image",
        )
        return router

    async def add(
        self,
        image: Annotated[UploadFile, File(description="An image file.")],
        label: Annotated[schemas.LabelWord, Form()],
        kind: Kind = "",
        by: By = "",
    ):
        """The image and the label are on disk when the reply comes; `vlad review apply` teaches
        them to a detector. A later label of the same image by the same person replaces it."""
        labels = self._labels()
        if kind and label == "good":
            raise HTTPException(422, "A good image has no kind of defect; leave kind out.")
        name = (image.filename or "image")[:MAX_NAME]
        suffix = PurePath(name).suffix.lower()
        if not is_image_name(f"image{suffix}"):
            raise HTTPException(
                422, "The file name has no suffix of an image; rename it, for example to image.png."
            )
        limit = self.service.limits.max_pixels
        await run_in_threadpool(partial(read_image, image.file, max_pixels=limit, name=name))
        image.file.seek(0)
        add = partial(labels.add, image.file.read(), suffix, label, kind.strip(), by.strip())
        made = await self._written(add)
        return schemas.Label(**{**vars(made), "label": label})

    async def take_back(
        self,
        digest: Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="Of the image.")],
        by: By = "",
    ):
        if not await self._written(partial(self._labels().take_back, digest, by.strip())):
            raise HTTPException(404, f"There is no labelled image {digest}.")
        return Response(status_code=204)

    def _labels(self) -> Labels:
        if self.service.labels is None:
            raise HTTPException(409, "This service keeps no labels; start it with --review DIR.")
        return self.service.labels

    async def _written(self, write):
        try:
            return await run_in_threadpool(write)
        except OutputError as error:
            raise HTTPException(507, str(error)) from error
