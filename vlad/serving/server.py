"""The server process, which runs until a signal stops it, and the connections it closes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType

import click
import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from vlad.serving.traffic import Traffic


def _reloads() -> bool:
    """Whether SIGHUP asks for a reload; from a terminal it says that this has ended."""
    return hasattr(signal, "SIGHUP") and not os.isatty(0)


@contextmanager
def hangups_held() -> Iterator[None]:
    """Let a SIGHUP wait until the server is ready to reload; else it would end the process."""
    if not _reloads():
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Server(uvicorn.Server):
    """Finishes running requests when asked to stop; a second Ctrl-C stops it at once.

    Until they are finished it still listens, so that probes and clients are told why new requests
    are refused. After SIGTERM the process ends with 0.

    Args:
        traffic: shared with the application.
        on_hangup: begun at each SIGHUP, unless the service runs in a terminal, whose end that is.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        traffic: Traffic,
        on_hangup: Callable[[], Coroutine[None, None, None]],
    ):
        super().__init__(config)
        self.traffic = traffic
        self.on_hangup = on_hangup
        self._interrupted = False
        self._begun: set[asyncio.Task] = set()  # a task that nobody holds may be collected

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if _reloads():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def _hang_up(self) -> None:
        task = asyncio.ensure_future(self.on_hangup())
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        interrupted = sig == signal.SIGINT
        if self.traffic.draining and interrupted:
            # an exception here would pass through running work, and print tracebacks or abort
            click.echo("Stopped.", err=True)
            os._exit(130)
        self.traffic.draining = True
        self._interrupted = interrupted

    async def on_tick(self, counter: int) -> bool:
        if self.traffic.draining and not self.traffic.posted:
            if self._interrupted:  # the caller is to know that it was Ctrl-C
                super().handle_exit(signal.SIGINT, None)
            return True
        return await super().on_tick(counter)


def patient(seconds: float) -> type:
    """uvicorn's protocol, which also closes connections that complete no request for so long.

    uvicorn itself waits for the headers of a request without limit.
    """

    class Patient(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # one of two classes
        def connection_made(self, transport) -> None:
            super().connection_made(transport)
            self._look(None, first=True)

        def connection_lost(self, exc) -> None:
            self._next_look.cancel()
            super().connection_lost(exc)

        def _look(self, before, first: bool = False) -> None:
            """Close it if no request came since the last look and none is being answered."""
            if not first and self.cycle is before and (not before or before.response_complete):
                self.transport.close()
            else:
                self._next_look = self.loop.call_later(seconds, self._look, self.cycle)

    return Patient
