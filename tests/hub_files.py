"""How the hub on the loopback serves files: redirects, digests, ranges, and what goes wrong."""

from __future__ import annotations

import hashlib
import json
import re
import socket
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import quote

KEPT = 60  # seconds for which a stalled reply is kept open at most


@dataclass
class Fault:
    """What goes wrong with some requests.

    Attributes:
        kind: "status" answers with `status`; of the others, which concern content, "cut" closes
            the connection after some bytes, "stall" sends no more after them, "slow" waits for
            `pause` before each of 10 pieces, and "corrupt" changes the last byte.
        where: a regular expression that is found in the path of the request.
        times: how often.
        method: which requests, as a regular expression.
        status, words, headers: of the answer.
        after: bytes of the reply.
        pause: in seconds.
    """

    kind: str
    where: str
    times: int = 1_000_000
    method: str = ".*"
    status: int = 503
    words: str = "Something went wrong"
    headers: dict[str, str] = field(default_factory=dict)
    after: int = 0
    pause: float = 0.0

    def is_due(self, method: str, path: str) -> bool:
        fits = re.fullmatch(self.method, method) and re.search(self.where, path)
        return self.times > 0 and bool(fits)


def is_large(path: str) -> bool:
    return path.endswith((".safetensors", ".png", ".bin", ".pkl"))


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class FilesHandler(BaseHTTPRequestHandler):
    """Answers requests for files; `opened` is a repository that the token may read."""

    protocol_version = "HTTP/1.1"

    def _resolve(self, name, commit, path):
        """Sends to where the content is, with what the hub knows of it."""
        if not (found := self.opened(name)):
            return
        files, commit = found.at(commit), found.main if commit == "main" else commit
        if path not in files:
            known = {"X-Repo-Commit": commit}
            self.reply(404, code="EntryNotFound", error="Entry not found", headers=known)
            return
        content = files[path]
        headers = {"X-Repo-Commit": commit}
        if is_large(path):
            digest = hashlib.sha256(content).hexdigest()
            self.server.blobs[digest] = content
            headers |= {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            # the ETag of the redirect itself is of no use
            headers |= {"ETag": '"redirect"', "Accept-Ranges": "bytes"}
            where = f"{self.server.store}/blobs/{digest}/{quote(path)}"
            self.reply(302, {}, headers={**headers, "Location": where})
        else:
            where = f"/api/resolve-cache/models/{name}/{commit}/{quote(path)}"
            self.reply(307, {}, headers={**headers, "Location": where})

    def _small(self, name, commit, path):
        if found := self.opened(name):
            content = found.at(commit)[path]
            self._send(path, content, git_hash(content), {"X-Repo-Commit": commit})

    def _blob(self, digest):
        self._send(self.path, self.server.blobs[digest], digest, {})

    def _send(self, path, content, digest, headers):
        fault = self.server.due(("cut", "stall", "slow", "corrupt"), self.command, path)
        if fault and fault.kind == "corrupt":
            content = content[:-1] + bytes([content[-1] ^ 1])
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        end = min(int(asked[2] or len(content)) + 1, len(content)) if asked else len(content)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        for key, value in {"ETag": f'"{digest}"', "Accept-Ranges": "bytes", **headers}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if self.command == "GET":
            try:
                self._write(content[start:end], fault)
            except OSError:  # the client has gone
                self.close_connection = True

    def _write(self, body: bytes, fault: Fault | None):
        if fault is None or fault.kind == "corrupt":
            self.wfile.write(body)
        elif fault.kind == "slow":
            size = len(body) // 10 + 1
            for i in range(0, len(body), size):
                self.server.over.wait(fault.pause)
                self.wfile.write(body[i : i + size])
        else:
            self.wfile.write(body[: fault.after])
            if fault.kind == "stall":
                self.server.over.wait(KEPT)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def reply(
        self,
        status: int,
        content: object = None,
        code: str = "",
        error: str = "",
        headers: dict[str, str] | None = None,
    ):
        body = json.dumps({"error": error} if content is None else content).encode()
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if code:
            self.send_header("X-Error-Code", code)
        if error:
            self.send_header("X-Error-Message", error)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
