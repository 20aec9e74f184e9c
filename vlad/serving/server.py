"""The process that serves, until a signal ends it, and the connections it closes."""

from __future__ import annotations

import os
import signal
from types import FrameType

import click
import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol


class Server(uvicorn.Server):
    """Finishes what it has begun when it is asked to end; a second Ctrl-C ends it at once."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit and sig == signal.SIGINT:
            # raised through all that still computes, it would print tracebacks or abort
            click.echo("Stopped.", err=True)
            os._exit(130)
        super().handle_exit(sig, frame)


def patient(seconds: float) -> type:
    """The protocol of uvicorn for connections on which no request is whole for so long.

    uvicorn waits for the head of a request without end.
    """

    class Patient(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # one of two classes
        def connection_made(self, transport) -> None:
            super().connection_made(transport)
            self._look(None, first=True)

        def connection_lost(self, exc) -> None:
            self._next_look.cancel()
            super().connection_lost(exc)

        def _look(self, before, first: bool = False) -> None:
            """Closes it where nothing has come since, and nothing is being answered."""
            if not first and self.cycle is before and (not before or before.response_complete):
                self.transport.close()
            else:
                self._next_look = self.loop.call_later(seconds, self._look, self.cycle)

    return Patient
