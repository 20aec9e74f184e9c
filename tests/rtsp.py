"""An RTSP camera on the loopback: H.264 in RTP over the same connection, with faults."""

from __future__ import annotations

import base64
import re
import socket
import struct
import threading
from fractions import Fraction
from itertools import count
from socketserver import StreamRequestHandler, ThreadingTCPServer

import av
import numpy as np
from clips import grey

ENDLESS = 10**9
CLOCK = 90_000  # RTP ticks a second
MOST = 300  # bytes of a part of a packet
_NAL = re.compile(b"\0\0\1(.*?)(?=\0*\0\0\1|$)", re.DOTALL)


class RtspCamera(ThreadingTCPServer):
    """Sends images to whoever plays; each is a key frame.

    Args:
        cuts: images before each connection is closed, in order; the last is endless. A negative
            number is so many images, after which nothing comes and the connection stays open.
        images: (H, W, 3) uint8, shown over and over; by default one of brightness 100.
        refusals: statuses of the first DESCRIBEs.
        stamps: number of the image -> its RTP time stamp, taken modulo 2**32.
        damaged: whether what is sent is no H.264 inside.
        udp: whether RTP comes over UDP, and over nothing else.
        pause: seconds from one image to the next.

    Attributes:
        connections: number of times that it was played.
        sent: number of images sent.
        asked: methods of all requests.
        gone: set it to close what is open.
    """

    daemon_threads = allow_reuse_address = True

    def __init__(
        self, *cuts, images=None, refusals=(), stamps=None, damaged=False, udp=False, pause=0.02,
        port=0,
    ):  # fmt: skip
        super().__init__(("127.0.0.1", port), _Handler)
        self.cuts, self.refusals = list(cuts), list(refusals)
        self.images = images or [grey(100)]
        self.stamps = stamps or (lambda number: round(number * pause * CLOCK))
        self.damaged, self.udp, self.pause = damaged, udp, pause
        self.connections = self.sent = 0
        self.asked = []
        self.gone = threading.Event()
        self.sender = socket.socket(type=socket.SOCK_DGRAM)
        self.place = f"127.0.0.1:{self.server_address[1]}/line"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.gone.set()
        self.shutdown()
        self.server_close()
        self.sender.close()

    @property
    def url(self) -> str:
        return f"rtsp://me:hunter2@{self.place}?token=hunter2"


class _Handler(StreamRequestHandler):
    def handle(self):
        camera, lock = self.server, threading.Lock()
        try:
            while first := self.rfile.read(1):
                if first == b"$":  # a report of the client
                    _, size = struct.unpack(">BH", self.rfile.read(3))
                    self.rfile.read(size)
                    continue
                method = (first + self.rfile.readline()).decode().split()[0]
                headers = {}
                while line := self.rfile.readline().decode().strip():
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                camera.asked.append(method)
                answer = self._answer(method, headers)
                with lock:
                    self.wfile.write(answer)
                if method == "TEARDOWN":
                    return
                if method == "PLAY":
                    threading.Thread(target=self._play, args=(lock,), daemon=True).start()
        except OSError:  # the other side has gone
            pass

    def _answer(self, method: str, headers: dict[str, str]) -> bytes:
        camera, status, more, body = self.server, "200 OK", [], b""
        if "authorization" not in headers and method != "OPTIONS":
            status, more = "401 Unauthorized", ['WWW-Authenticate: Basic realm="line"']
        elif method == "DESCRIBE" and camera.refusals:
            status = f"{camera.refusals.pop(0)} Refused"
        elif method == "DESCRIBE":
            more, body = ["Content-Type: application/sdp"], _sdp(camera.images[0])
        elif method == "SETUP" and camera.udp == ("interleaved" in headers["transport"]):
            status = "461 Unsupported Transport"
        elif method == "SETUP":
            if port := re.search(r"client_port=(\d+)", headers["transport"]):
                self.to = ("127.0.0.1", int(port[1]))
            own = ";server_port=5000-5001" if camera.udp else ""
            more = [f"Transport: {headers['transport']}{own}"]
        lines = [f"RTSP/1.0 {status}", f"CSeq: {headers['cseq']}", "Session: 1", *more]
        lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _play(self, lock: threading.Lock) -> None:
        camera = self.server
        camera.connections += 1
        images = camera.cuts.pop(0) if camera.cuts else ENDLESS
        encoders, sequence = {}, count()
        try:
            for _ in range(abs(images)):
                image = camera.images[camera.sent % len(camera.images)]
                stamp = camera.stamps(camera.sent) % 2**32
                for nal in _encoded(encoders, image):
                    nal = bytes(len(nal)) if camera.damaged else nal
                    for payload, last in _parts(nal):
                        head = (0x80, 96 | last << 7, next(sequence) % 2**16, stamp, 1)
                        packet = struct.pack(">BBHII", *head) + payload
                        if camera.udp:
                            camera.sender.sendto(packet, self.to)
                            continue
                        with lock:
                            self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                camera.sent += 1
                if camera.gone.wait(camera.pause):
                    break
            if images < 0:
                camera.gone.wait()
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other side has gone
            pass


def _encoded(encoders: dict, image: np.ndarray) -> list[bytes]:
    """The NAL units of an image, its parameter sets first."""
    size = image.shape[1], image.shape[0]
    if size not in encoders:
        encoder = encoders[size] = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height = size
        encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 50)
        encoder.gop_size = 1
        encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "1"}
    packets = encoders[size].encode(av.VideoFrame.from_ndarray(image, format="rgb24"))
    return _NAL.findall(b"".join(map(bytes, packets)))


def _parts(nal: bytes) -> list[tuple[bytes, bool]]:
    """Payloads of a NAL unit with whether an image ends there; FU-A if it is too large for one."""
    ends = nal[0] & 31 < 6  # of a slice, not of parameters
    if len(nal) <= MOST:
        return [(nal, ends)]
    body = [nal[place : place + MOST] for place in range(1, len(nal), MOST)]
    heads = [nal[0] & 31 | (n == 0) << 7 | (n == len(body) - 1) << 6 for n in range(len(body))]
    return [
        (bytes([nal[0] & 0x60 | 28, head]) + part, ends and bool(head & 64))
        for head, part in zip(heads, body, strict=True)
    ]


def _sdp(image: np.ndarray) -> bytes:
    sets = [nal for nal in _encoded({}, image) if nal[0] & 31 in (7, 8)]
    told = ",".join(base64.b64encode(nal).decode() for nal in sets)
    return "\r\n".join(
        [
            "v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=line", "c=IN IP4 127.0.0.1", "t=0 0",
            "m=video 0 RTP/AVP 96", f"a=rtpmap:96 H264/{CLOCK}",
            f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={told}",
            "a=control:track", "",
        ]
    ).encode()  # fmt: skip
