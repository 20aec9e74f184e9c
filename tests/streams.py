"""A camera on the loopback: JPEG images over HTTP, one after the other, with cuts."""

from __future__ import annotations

import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

ENDLESS = 10**9


def take(source, count: int) -> list:
    """The next frames of a `Live`."""
    frames = []
    while len(frames) < count:
        frame = source.latest(60)
        assert frame is not None
        frames.append(frame)
    return frames


class Camera(ThreadingHTTPServer):
    """Sends images to whoever connects; their brightness grows by one from image to image.

    Args:
        cuts: images before each connection is closed, in order; the last is endless. A negative
            number is so many images, after which nothing comes and the connection stays open.

    Attributes:
        damaged: whether what is sent is no JPEG inside.
        sizes: of the images, each of ten in a row, in turn.
        connections: number of connections so far.
        sent: number of images sent.
    """

    daemon_threads = True

    def __init__(self, *cuts: int, port: int = 0, damaged: bool = False, sizes=((64, 48),)):
        super().__init__(("127.0.0.1", port), _Handler)
        self.cuts, self.damaged, self.sizes = list(cuts), damaged, sizes
        self.connections = self.sent = 0
        self.gone = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.gone.set()
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://me:hunter2@127.0.0.1:{self.server_port}/line?token=hunter2"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        camera = self.server
        camera.connections += 1
        count = camera.cuts.pop(0) if camera.cuts else ENDLESS
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=image")
        self.end_headers()
        for _ in range(abs(count)):
            content = io.BytesIO()
            size = camera.sizes[camera.sent // 10 % len(camera.sizes)]
            Image.new("RGB", size, (camera.sent % 256,) * 3).save(content, "JPEG")
            body = content.getvalue()
            if camera.damaged:
                body = body[:2] + bytes(len(body) - 2)
            head = f"--image\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + body + b"\r\n")
            except OSError:  # the other side has gone
                return
            camera.sent += 1
            if camera.gone.wait(0.01):
                return
        if count < 0:
            camera.gone.wait()

    def log_message(self, *_):
        pass
