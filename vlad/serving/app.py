"""The service as an application: its routes behind its guard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Security
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool

from vlad import __version__
from vlad.backbones import choose_device
from vlad.scoring.ahead import readers
from vlad.serving.batching import Batcher
from vlad.serving.detectors import Store
from vlad.serving.form import check_names
from vlad.serving.guard import Guard
from vlad.serving.limits import Limits
from vlad.serving.log import RequestLog
from vlad.serving.metrics import Metrics
from vlad.serving.prefix import Prefix
from vlad.serving.recorder import Recorder
from vlad.serving.review import Labels
from vlad.serving.routes.detectors import DetectorRoutes
from vlad.serving.routes.explain import ExplainRoutes
from vlad.serving.routes.labels import LabelRoutes
from vlad.serving.routes.public import public_routes
from vlad.serving.routes.refusals import ANSWERS
from vlad.serving.routes.score import ScoreRoutes
from vlad.serving.routes.service import Service
from vlad.serving.traffic import Traffic


def create_app(
    store: Store,
    limits: Limits,
    keys: Sequence[str] | None = None,
    *,
    labels: Labels | None = None,
    traffic: Traffic | None = None,
    log: RequestLog | None = None,
    root_path: str = "",
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        store: detectors that are ready (see `vlad.serving.detectors.make_ready`).
        keys: hashes of API keys; None requires no key.
        labels: where labelled images are kept; None keeps none.
        traffic: shared with the process that stops it; None makes one.
        log: gets a line for each request.
        root_path: prefix of paths behind a proxy (see `vlad.serving.prefix`).
    """
    traffic = traffic or Traffic()
    metrics = Metrics(lambda: len(batcher))
    store.on_replace = metrics.forget_drift
    threads = max(readers(choose_device(one.detector.device)) for one in store)
    batcher = Batcher(limits.batch_size, limits.queue, metrics.batches.observe, threads)

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
        redirect_slashes=False,  # to a URL that a proxy may not offer
    )
    app.add_middleware(Guard, limits=limits, metrics=metrics, traffic=traffic, keys=keys)
    app.add_middleware(Prefix, prefix=root_path)
    app.add_middleware(Recorder, log=log)
    for kind, answer in ANSWERS.items():
        app.add_exception_handler(kind, answer)
    service = Service(store, limits, batcher, metrics, labels)
    secured = [Security(HTTPBearer(auto_error=False))] if keys is not None else []
    app.include_router(public_routes(traffic))
    app.include_router(ScoreRoutes(service).router(), dependencies=secured)
    app.include_router(ExplainRoutes(service).router(), dependencies=secured)
    app.include_router(DetectorRoutes(service).router(), dependencies=secured)
    app.include_router(LabelRoutes(service).router(), dependencies=secured)
    return app
