"""A receiver of webhooks on the loopback that answers as it is told."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler

from loopback import Loopback


class Receiver(Loopback):
    """Keeps what is posted to it.

    Args:
        answers: of the first requests, in order: a status, or a function that takes the handler;
            200 for all further ones.

    Attributes:
        posts: (headers, body) of each request.
        paths: of each request.
    """

    def __init__(self, *answers):
        self.answers, self.posts, self.paths = list(answers), [], []
        self.changed = threading.Condition()
        super().__init__(_Handler)

    @property
    def url(self) -> str:
        return f"{self.address}/parts?line=1"

    @property
    def ids(self) -> list[str]:
        return [headers["X-Vlad-Delivery"] for headers, _ in self.posts]

    def until(self, holds) -> None:
        """Wait until `holds()`, which is asked after each request."""
        with self.changed:
            assert self.changed.wait_for(holds, 600)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        with server.changed:
            answer = server.answers.pop(0) if server.answers else 200
            server.posts.append((self.headers, body))
            server.paths.append(self.path)
            server.changed.notify_all()
        if callable(answer):
            answer(self)
            return
        self.send_response(answer)
        if 300 <= answer < 400:
            self.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        raise AssertionError("nothing asks for a page")

    def log_message(self, *_):
        pass
