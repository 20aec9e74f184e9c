"""A broker of MQTT 3.1.1 on the loopback that takes what is published with quality of service 1."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress

CONNECT, PUBLISH, DISCONNECT = 1, 3, 14


class Broker:
    """Keeps what is published.

    Args:
        answers: to the first connections, in order: "refuse" the login, stay "silent" after what
            is published, or "close" instead of a confirmation; all further ones are confirmed.

    Attributes:
        got: (topic, body) of each message that was confirmed.
        logins: the bytes of each connection's first packet.
    """

    def __init__(self, *answers: str, port: int = 0):
        self.answers = list(answers)
        self.got: list[tuple[str, bytes]] = []
        self.logins: list[bytes] = []
        self._ended = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Broker:
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        answer = self.answers.pop(0) if self.answers else ""
        with connection, connection.makefile("rb") as stream, suppress(OSError, IndexError):
            while (head := stream.read(1)[0]) >> 4 != DISCONNECT:
                body = stream.read(_length(stream))
                if head >> 4 == CONNECT:
                    self.logins.append(body)
                    connection.sendall(bytes([0x20, 2, 0, 5 if answer == "refuse" else 0]))
                elif head >> 4 == PUBLISH:
                    assert head & 0b110 == 0b10  # quality of service 1
                    size = struct.unpack(">H", body[:2])[0]
                    if answer == "close":
                        return
                    if answer == "silent":
                        self._ended.wait()
                        return
                    self.got.append((body[2 : 2 + size].decode(), body[4 + size :]))
                    connection.sendall(b"\x40\x02" + body[2 + size : 4 + size])


def _length(stream) -> int:
    """The length of a packet: seven bits a byte, the lowest first."""
    length = shift = 0
    while True:
        byte = stream.read(1)[0]
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return length
