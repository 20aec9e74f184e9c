"""/v1/detectors: list, fit, reload and delete; and the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import PlainTextResponse, Response
from PIL import Image
from prometheus_client import CONTENT_TYPE_LATEST

from vlad.calibration import FALSE_ALARMS
from vlad.calibration.holdout import split_normals
from vlad.detector import Detector
from vlad.images.interest import RegionOfInterest
from vlad.report.interest import outline
from vlad.serving import schemas
from vlad.serving.detectors import Served
from vlad.serving.guard import busy
from vlad.serving.limits import MAX_MADE, MAX_NORMALS
from vlad.serving.recorder import record_of
from vlad.serving.reload import reload
from vlad.serving.routes.refusals import POSTED, refusals
from vlad.serving.routes.service import Service
from vlad.serving.routes.uploads import NAMED, PATTERN, Images, Words, check_count, readers
from vlad.serving.threads import in_turn


class DetectorRoutes:
    """The detectors served, and the metrics."""

    def __init__(self, service: Service):
        self.service = service

    def router(self) -> APIRouter:
        router = APIRouter()
        route = router.add_api_route
        route(
            "/v1/detectors",
            self.detectors,
            response_model=schemas.Detectors,
            responses=refusals(422),
            summary="List detectors and request limits",
        )
        route(
            "/v1/detectors",
            self.fit,
            methods=["POST"],
            status_code=201,
            response_model=schemas.Detector,
            responses=refusals(409, *POSTED),
            summary="Fit a detector on normal images",
        )
        route(
            "/v1/detectors/{name}",
            self.delete,
            methods=["DELETE"],
            status_code=204,
            response_class=Response,
            responses=refusals(404, 409, 422),
            summary="Delete a detector made over HTTP",
        )
        route(
            "/v1/detectors/{name}/reload",
            self.reload,
            methods=["POST"],
            response_model=schemas.Detector,
            responses=refusals(404, 408, 409, 413, 422, 429, 502, 503, 504),
            summary="Load a detector from its folder again",
        )
        route(
            "/metrics",
            self.show_metrics,
            response_class=PlainTextResponse,
            responses=refusals(422),
            summary="Metrics for Prometheus",
        )
        return router

    async def detectors(self):
        store, limits = self.service.store, self.service.limits
        return schemas.Detectors(
            detectors=[_shown(served) for served in store],
            limits=schemas.Bounds(
                bytes=limits.max_bytes,
                pixels=limits.max_pixels,
                images=self.service.most,
                normals=MAX_NORMALS,
            ),
            labels=self.service.labels is not None,
        )

    async def fit(
        self,
        request: Request,
        name: Annotated[str, NAMED],
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
        store, limits = self.service.store, self.service.limits
        record = record_of(request)
        record.detector, record.images = name, len(images)
        check_count(images, MAX_NORMALS)
        store.check_room(name)
        if self.service.fitting.locked():
            return busy()
        made = store.another(head, category)
        reads = readers(images, made, limits.max_pixels)
        await in_turn(self.service.fitting, _fit, made, reads, k_shot, false_alarms, suspects)
        served = Served(name, made, made=True)
        store.add(served)
        return _shown(served)

    async def delete(self, request: Request, name: Annotated[str, Path(pattern=PATTERN)]):
        record_of(request).detector = name
        self.service.store.remove(self.service.find(name))
        self.service.metrics.forget(name)
        return Response(status_code=204)

    async def reload(self, request: Request, name: Annotated[str, Path(pattern=PATTERN)]):
        """Requests in progress finish with the old one. If the folder cannot be used, the old one
        stays."""
        record_of(request).detector = name
        return _shown(await reload(self.service.store, self.service.find(name)))

    async def show_metrics(self):
        return PlainTextResponse(self.service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


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


@lru_cache(maxsize=2 * MAX_MADE)
def _outline(region: RegionOfInterest | None) -> schemas.Outline | None:
    """The outline of a region of interest, to draw on images."""
    if region is None:
        return None
    path, box = outline(region)
    return schemas.Outline(path=path, box=box)


def _drift(served: Served) -> schemas.Drift | None:
    if note := served.drift.note:
        return schemas.Drift(images=0, moved=[], sentence=note)
    if (state := served.drift.state) is None:
        return None
    moved = [part.name for part in state.moved]
    return schemas.Drift(images=state.images, moved=moved, sentence=state.sentence)


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
        drift=_drift(served),
        made=served.made,
        roi=_outline(detector.panel_.inside.region),
    )
