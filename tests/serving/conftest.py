"""What the tests of the service share: small detectors, images as files, a client."""

from __future__ import annotations

import io
import time
from threading import Event, Thread
from types import SimpleNamespace

import numpy as np
import pytest

from vlad.scoring.given import ScoredImage
from vlad.scoring.pipeline import Prepared

LOCAL = "http://127.0.0.1"


@pytest.fixture(scope="session")
def files(drawn) -> list[bytes]:
    """The drawn images as PNG files."""

    def encode(image) -> bytes:
        file = io.BytesIO()
        image.save(file, "PNG")
        return file.getvalue()

    return [encode(image) for image in drawn]


@pytest.fixture(scope="session")
def memory(small_file, drawn):
    """A calibrated detector."""
    import vlad

    made = vlad.load("memory", backbone=str(small_file), device="cpu", layers=(1, 3))
    held_out = [image.crop((3, 3, *image.size)) for image in drawn[:3]]
    return made.fit(drawn[:2]).calibrate(held_out, false_alarms=0.25)


@pytest.fixture
def words(small_file):
    """A detector that reads."""
    import vlad

    return vlad.load("winclip", backbone=str(small_file), device="cpu", category="nut")


@pytest.fixture
def serve():
    """(name -> detector, keys, names of those made over HTTP, name -> how to load it again, log,
    prefix, limits) -> a client of a service.

    It runs until the test ends."""
    from contextlib import ExitStack

    from fastapi.testclient import TestClient

    from vlad.serving.app import create_app
    from vlad.serving.detectors import Served, Store, make_ready
    from vlad.serving.limits import Limits

    with ExitStack() as stack:

        def make(
            detectors, keys=None, made=(), loads=None, labels=None, log=None, root_path="", **limits
        ):
            served = [
                Served(name, one, name in made, (loads or {}).get(name))
                for name, one in detectors.items()
            ]
            make_ready([one for one in served if not isinstance(one.detector, Slow)])
            own = {"labels": labels, "log": log, "root_path": root_path}
            app = create_app(Store(served), Limits(**limits), keys, **own)
            return stack.enter_context(TestClient(app, base_url=LOCAL))

        yield make


class Slow:
    """A detector that waits for `go` in each pass; an image's score is its upper left pixel."""

    category, bits, tile = None, 16, None
    backbone, device, dtype, runtime = "slow", "cpu", "float32", "torch"
    head_ = SimpleNamespace(name="memory", bank=None, map_range=(0.0, 1.0))
    backbone_ = SimpleNamespace(info=SimpleNamespace(name="slow"))
    panel_ = SimpleNamespace(inside=SimpleNamespace(region=None))

    def __init__(self):
        self.go, self.began = Event(), Event()
        self.read: list[int] = []
        self.batches: list[tuple[str | None, list[float]]] = []

    def prepare(self, image):
        value = image.getpixel((0, 0))[0]
        self.read.append(value)
        return Prepared(image.size, [value])

    def stream(self, images, *, category=None):
        values = [float(tile) for image in images for tile in image.tiles]
        self.began.set()
        assert self.go.wait(120)
        self.batches.append((category, values))
        blank = np.zeros((4, 4))
        return [
            ScoredImage(image, i, image.size, value, blank)
            if np.isfinite(value)
            else ScoredImage(image, i, image.size, error=f"image {i}: no score; score it again.")
            for i, (image, value) in enumerate(zip(images, values, strict=True))
        ]


@pytest.fixture
def slow():
    made = Slow()
    yield made
    made.go.set()


@pytest.fixture(scope="session")
def form():
    """Contents of images -> the fields of a form, called 0.png, 1.png, ..."""

    def make(*contents: bytes) -> list[tuple]:
        return [("images", (f"{i}.png", content)) for i, content in enumerate(contents)]

    return make


@pytest.fixture
def eventually():
    """Waits until something is true, for two minutes at most."""

    def wait(condition) -> None:
        end = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.005)

    return wait


@pytest.fixture
def live(memory):
    """The address of a service with one detector, "line", that answers over real HTTP."""
    import uvicorn

    from vlad.serving.app import create_app
    from vlad.serving.detectors import Served, Store, make_ready
    from vlad.serving.limits import Limits

    served = [Served("line", memory)]
    make_ready(served)
    app = create_app(Store(served), Limits(timeout=600))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    yield f"{LOCAL}:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
