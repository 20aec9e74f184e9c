"""A fake OpenAI-compatible server on this machine, with the faults of real ones."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from uuid import uuid4

from loopback import Loopback
from PIL import Image

MODEL = "fake-vlm"


class ChatServer(Loopback):
    """Replies to POST /v1/chat/completions; used as a context manager.

    Args:
        answer: the text of every reply, a list of texts for one reply after the other (the last
            one stays), or a function from the `Asked` question to a text.
        logprobs: token -> log-probability of the first token, given if a request asks for them.
        faults: for one request after the other, "" or one of: "slow", "429", "500", "malformed",
            "empty", "list", "stream", "endless", "redirect", "404", "dropped", "drip" (headers a
            letter at a time); "echo key" repeats the key in a refusal. Requests after the last of
            them have no fault.
        refuses: keys of a request's body that the server calls wrong (status 400).
        key: the key that it wants.
        seconds: that a slow reply takes.

    Attributes:
        url: the address to give to vlad.
        asked: the bodies of all requests, in order.
        keys: the Authorization headers, in order.
        most: the most requests that were under way at once.
        retry_after: what status 429 or 500 says about the next try.
    """

    def __init__(
        self,
        answer: str | list[str] | Callable[[Asked], str] = "Yes",
        *,
        logprobs: dict[str, float] | None = None,
        faults: tuple[str, ...] = (),
        refuses: tuple[str, ...] = (),
        key: str = "",
        seconds: float = 5.0,
        elsewhere: str = "http://127.0.0.1:9/v1",
    ) -> None:
        self.answer, self.logprobs, self.faults = answer, logprobs, list(faults)
        self.refuses, self.key, self.seconds, self.elsewhere = refuses, key, seconds, elsewhere
        self.asked: list[Asked] = []
        self.keys: list[str | None] = []
        self.under_way = self.most = 0
        self.retry_after = "0"
        self.lock = threading.Lock()
        super().__init__(_Handler)
        # no address twice, since answers are cached by it and ports come again
        self.url = f"{self.address}/{uuid4().hex}/v1"

    def serve_forever(self, poll_interval: float = 0.02) -> None:
        super().serve_forever(poll_interval)  # which is how soon it ends


class Asked:
    """The body of a request: `text`, `images` (decoded), and `body` as it came."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        content = body["messages"][-1]["content"]
        self.text = "".join(part["text"] for part in content if part["type"] == "text")
        urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
        self.images = [
            Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2]))) for url in urls
        ]


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer

    def log_message(self, *_) -> None:
        pass

    def do_POST(self) -> None:
        server = self.server
        asked = Asked(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        with server.lock:
            server.asked.append(asked)
            server.keys.append(self.headers.get("Authorization"))
            allowed = not server.key or self.headers.get("Authorization") == f"Bearer {server.key}"
            fault = server.faults.pop(0) if allowed and server.faults else ""
            answer = server.answer
            if isinstance(answer, list):
                answer = answer.pop(0) if len(answer) > 1 else answer[0]
            server.under_way += 1
            server.most = max(server.most, server.under_way)
        try:
            self._reply(asked, answer(asked) if callable(answer) else answer, fault, allowed)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with server.lock:
                server.under_way -= 1

    def do_GET(self) -> None:
        """What a client that follows a redirect sends."""
        self.server.keys.append(self.headers.get("Authorization"))
        self._send(404, {})

    def _reply(self, asked: Asked, answer: str, fault: str, allowed: bool) -> None:
        server = self.server
        if not allowed:
            return self._send(401, {"error": {"message": "Incorrect API key provided"}})
        if wrong := [key for key in server.refuses if key in asked.body]:
            return self._send(400, {"error": {"message": f"{wrong[0]} is not supported"}})
        if fault == "dropped":
            self.close_connection = True
            return None
        if fault == "drip":
            return self._drip()
        if fault == "echo key":
            said = self.headers.get("Authorization", "").removeprefix("Bearer ")
            return self._send(422, {"error": {"message": f"the key {said} has no quota"}})
        if fault == "redirect":
            return self._send(302, {}, Location=f"{server.elsewhere}/chat/completions")
        if fault in ("429", "500", "404"):
            return self._send(
                int(fault), {"error": {"message": fault}}, **{"Retry-After": server.retry_after}
            )
        if fault == "malformed":
            return self._raw(200, b'{"choices": [')
        if fault == "empty":
            return self._send(200, {})
        if fault == "list":
            return self._send(200, [])
        if fault == "stream":
            return self._raw(200, b"data: {}\n\n", "text/event-stream")
        if fault == "endless":
            return self._endless()
        if fault == "slow":
            time.sleep(server.seconds)
        choice: dict[str, Any] = {"message": {"role": "assistant", "content": answer}}
        if server.logprobs is not None and asked.body.get("logprobs"):
            top = [{"token": t, "logprob": p} for t, p in server.logprobs.items()]
            choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        usage = {"prompt_tokens": 100, "completion_tokens": 20}
        return self._send(200, {"model": MODEL, "choices": [choice], "usage": usage})

    def _endless(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        while True:
            self.wfile.write(b" " * 2**16)

    def _drip(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for _ in range(round(self.server.seconds / 0.05)):
            self.wfile.write(b"x")
            time.sleep(0.05)

    def _send(self, status: int, body: Any, **headers: str) -> None:
        self._raw(status, json.dumps(body).encode(), "application/json", headers)

    def _raw(
        self, status: int, data: bytes, kind: str = "application/json", headers: dict | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
