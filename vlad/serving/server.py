"""The server process, which runs until a signal stops it, and the connections it closes."""

from __future__ import annotations

import os
import signal
from types import FrameType

import click
import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol


class Server(uvicorn.Server):
    """Finishes running requests when asked to stop; a second Ctrl-C stops it at once."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit and sig == signal.SIGINT:
            # an exception here would pass through running work, and print tracebacks or abort
            click.echo("Stopped.", err=True)
            os._exit(130)
        super().handle_exit(sig, frame)


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
