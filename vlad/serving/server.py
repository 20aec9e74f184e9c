"""The process that serves, until a signal ends it."""

from __future__ import annotations

import os
import signal
from types import FrameType

import click
import uvicorn


class Server(uvicorn.Server):
    """Finishes what it has begun when it is asked to end; a second Ctrl-C ends it at once."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit and sig == signal.SIGINT:
            # raised through all that still computes, it would print tracebacks or abort
            click.echo("Stopped.", err=True)
            os._exit(130)
        super().handle_exit(sig, frame)
