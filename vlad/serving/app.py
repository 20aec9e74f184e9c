"""The routes of the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, File, Form, Path, Security, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from PIL import Image
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from vlad import __version__
from vlad.calibration import FALSE_ALARMS
from vlad.calibration.holdout import split_normals
from vlad.detector import Detector
from vlad.errors import ImageError, VladError
from vlad.images import read_image
from vlad.serving import replies, schemas
from vlad.serving.batching import Batcher, Busy, Found
from vlad.serving.detectors import NAME, Conflict, Served, Store
from vlad.serving.form import check_names, unreadable
from vlad.serving.guard import Guard, busy, problem
from vlad.serving.limits import MAX_NAME, MAX_NORMALS, Limits
from vlad.serving.metrics import Metrics
from vlad.serving.page import page
from vlad.serving.threads import in_own_thread

_REFUSALS = {
    400: "The body is not a multipart form.",
    401: "A valid API key is required.",
    403: "Without API keys, the service answers only this machine and its own page.",
    404: "There is no detector with this name.",
    408: "The request did not arrive in time.",
    409: "The detector already exists or cannot be deleted, or there are too many.",
    413: "The request has too many bytes or images.",
    422: "A name is unknown, a field is missing or out of range, or no image can be used.",
    429: "The service is busy; Retry-After gives the seconds to wait.",
    504: "The reply was not ready in time.",
}


def _refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {c: {"model": schemas.Problem, "description": _REFUSALS[c]} for c in (401, 403, *codes)}


_POSTED = (400, 408, 413, 422, 429, 504)
_NAME = Form(pattern=f"^{NAME}$", description="Name of a detector.")
Words = Annotated[
    str | None,
    Form(min_length=1, max_length=100, description="What the images show; for heads that read."),
]
Images = Annotated[list[UploadFile], File(min_length=1, description="Image files.")]


def create_app(store: Store, limits: Limits, keys: Sequence[str] | None = None) -> FastAPI:
    """The service as an ASGI application.

    Args:
        store: detectors that are ready (see `vlad.serving.detectors.make_ready`).
        keys: hashes of API keys; None requires no key.
    """
    metrics = Metrics(lambda: len(batcher))
    batcher = Batcher(limits.batch_size, limits.queue, metrics.batches.observe)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(batcher.close)

    app = FastAPI(
        title="vlad",
        description="Scores images for anomalies.",
        version=__version__,
        dependencies=[Depends(check_names)],
        lifespan=lifespan,
        docs_url=None,  # these pages load scripts from other sites
        redoc_url=None,
    )
    app.add_middleware(Guard, limits=limits, metrics=metrics, keys=keys)
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)
    _add_public(app)
    secured = [Security(HTTPBearer(auto_error=False))] if keys is not None else []
    service = _Service(store, limits, batcher, metrics)
    app.include_router(service.router(), dependencies=secured)
    return app


class _Service:
    """The routes, and what they share."""

    def __init__(self, store: Store, limits: Limits, batcher: Batcher, metrics: Metrics):
        self.store = store
        self.limits = limits
        self.batcher = batcher
        self.metrics = metrics
        self.fitting = asyncio.Lock()

    def router(self) -> APIRouter:
        router = APIRouter()
        route = partial(router.add_api_route, response_model_exclude_none=False)
        route(
            "/v1/score",
            self.score,
            methods=["POST"],
            response_model=schemas.Scored,
            responses=_refusals(404, *_POSTED),
            summary="Score images",
        )
        route(
            "/v1/detectors",
            self.detectors,
            response_model=schemas.Detectors,
            responses=_refusals(422),
            summary="List detectors and request limits",
        )
        route(
            "/v1/detectors",
            self.fit,
            methods=["POST"],
            status_code=201,
            response_model=schemas.Detector,
            responses=_refusals(409, *_POSTED),
            summary="Fit a detector on normal images",
        )
        route(
            "/v1/detectors/{name}",
            self.delete,
            methods=["DELETE"],
            status_code=204,
            response_class=Response,
            responses=_refusals(404, 409, 422),
            summary="Delete a detector made over HTTP",
        )
        route(
            "/metrics",
            self.show_metrics,
            response_class=PlainTextResponse,
            responses=_refusals(422),
            summary="Metrics for Prometheus",
        )
        return router

    async def score(
        self,
        images: Images,
        detector: Annotated[str | None, _NAME] = None,
        category: Words = None,
        threshold: Annotated[float | None, Form(allow_inf_nan=False)] = None,
        map_threshold: Annotated[float | None, Form(allow_inf_nan=False)] = None,
        map_kind: Annotated[schemas.MapKind | None, Form(alias="map")] = None,
    ):
        """An image that cannot be used gets an error; if none can be used, the reply is 422."""
        served = self.store.find(detector)
        if served is None:
            raise HTTPException(404, f"There is no detector {detector}; see GET /v1/detectors.")
        self._check_count(images, self.limits.queue)
        category = served.category(category)
        question = replies.Question(served, category, threshold, map_threshold, map_kind)
        reads = [self._reader(*named, served.detector) for named in _named(images)]
        waiting = self.batcher.submit(served.detector, category, reads)
        found = await asyncio.gather(*map(asyncio.wrap_future, waiting), return_exceptions=True)
        results: list[Found | str] = []
        for one in found:
            if isinstance(one, BaseException) and not isinstance(one, ImageError):
                raise one
            results.append(str(one) if isinstance(one, ImageError) else one)
        reply = await run_in_threadpool(
            question.answer, [name for name, _ in _named(images)], results
        )
        if self.store.find(served.name) is served:  # a deleted detector has no counts
            for image in reply.images:
                outcome = "failed" if image.error else image.verdict or "scored"
                self.metrics.images.labels(served.name, outcome).inc()
        if all(image.error for image in reply.images):
            others = f" None of the {len(images)} images can be used." if len(images) > 1 else ""
            raise HTTPException(422, f"{reply.images[0].error}{others}")
        return reply

    async def detectors(self):
        limits = self.limits
        return schemas.Detectors(
            detectors=[_shown(served) for served in self.store],
            limits=schemas.Bounds(
                bytes=limits.max_bytes,
                pixels=limits.max_pixels,
                images=limits.queue,
                normals=MAX_NORMALS,
            ),
        )

    async def fit(
        self,
        name: Annotated[str, _NAME],
        images: Images,
        head: Annotated[schemas.FittedHead, Form()] = "memory",
        category: Words = None,
        k_shot: Annotated[
            int | None,
            Form(ge=1, description="Number of images to fit on; the others set the threshold."),
        ] = None,
        false_alarms: Annotated[
            float, Form(gt=0, lt=1, description="Share of normal images that may be flagged.")
        ] = FALSE_ALARMS,
        suspects: Annotated[
            int,
            Form(ge=0, description="How many held-out images, the strangest, are left out."),
        ] = 0,
    ):
        """The new detector uses the backbone of the first, and lasts until it is deleted or the
        service stops. If enough images are held out, they set its threshold."""
        self._check_count(images, MAX_NORMALS)
        self.store.check_room(name)
        if self.fitting.locked():
            return busy()
        async with self.fitting:
            made = self.store.another(head, category)
            reads = [self._reader(*named, made) for named in _named(images)]
            await asyncio.wrap_future(
                in_own_thread(_fit, made, reads, k_shot, false_alarms, suspects)
            )
            served = Served(name, made, made=True)
            self.store.add(served)
        return _shown(served)

    async def delete(self, name: Annotated[str, Path(pattern=f"^{NAME}$")]):
        if not self.store.remove(name):
            raise HTTPException(404, f"There is no detector {name}; see GET /v1/detectors.")
        self.metrics.forget(name)
        return Response(status_code=204)

    async def show_metrics(self):
        return PlainTextResponse(self.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    def _reader(self, name: str, image: UploadFile, detector: Detector) -> partial[Image.Image]:
        return partial(
            read_image,
            image.file,
            max_pixels=self.limits.max_pixels,
            bits=detector.bits,
            name=name,
        )

    def _check_count(self, images: Sequence[UploadFile], most: int) -> None:
        if len(images) > most:
            raise HTTPException(413, f"{len(images)} images are too many; send at most {most}.")


def _fit(
    detector: Detector,
    reads: Sequence[partial[Image.Image]],
    k_shot: int | None,
    false_alarms: float,
    suspects: int,
) -> None:
    shown, held_out = split_normals(reads, k_shot, 0, false_alarms)
    detector.fit(read() for read in shown)
    if held_out:
        detector.calibrate(map(_read, held_out), false_alarms, suspects=suspects)


def _read(read: partial[Image.Image]) -> Image.Image:
    """An image that a calibration knows by the name of its upload."""
    image = read()
    vars(image)["filename"] = read.keywords["name"]  # as Pillow has it for files
    return image


def _shown(served: Served) -> schemas.Detector:
    detector = served.detector
    head = detector.head_.name
    found = getattr(detector, "calibration_", None)
    return schemas.Detector(
        name=served.name,
        head=head,
        backbone=detector.backbone_.info.name,
        category=detector.category,
        reads=served.reads,
        threshold=found.thresholds[head] if found else None,
        map_threshold=found.map_thresholds.get(head) if found else None,
        basis=served.basis,
        made=served.made,
    )


def _named(images: Sequence[UploadFile]) -> list[tuple[str, UploadFile]]:
    """Images with their names; one with an empty file name gets its place."""
    return [((x.filename or f"image {n}")[:MAX_NAME], x) for n, x in enumerate(images, 1)]


def _add_public(app: FastAPI) -> None:
    html, policy = page()

    @app.get("/", include_in_schema=False)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    @app.get("/healthz", responses=_refusals(422), summary="Check that the service is up")
    async def health() -> schemas.Health:
        return schemas.Health(version=__version__)


async def _invalid(request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return problem(422, f"{where}: {first['msg']}.")


async def _refused(request, error: HTTPException) -> Response:
    detail = error.detail
    if error.status_code == 400:  # from the parser of forms
        detail = unreadable(error)
    elif detail == HTTPStatus(error.status_code).phrase:  # from the router, which gives no reason
        detail = "Not found, or method not allowed; see /openapi.json."
    reply = problem(error.status_code, detail)
    reply.headers.update(error.headers or {})
    return reply


async def _cannot(request, error: VladError) -> Response:
    return problem(422, str(error))


async def _conflict(request, error: Conflict) -> Response:
    return problem(409, str(error))


async def _busy(request, error: Busy) -> Response:
    return busy()


_ANSWERS: dict[type[Exception], Callable[..., Awaitable[Response]]] = {
    RequestValidationError: _invalid,
    HTTPException: _refused,
    VladError: _cannot,
    Conflict: _conflict,
    Busy: _busy,
}
