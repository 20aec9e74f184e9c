"""Connections that begin no request are closed, so that they cannot use up all there are."""

from __future__ import annotations

from uvicorn.protocols.http.auto import AutoHTTPProtocol


def patient(seconds: float) -> type:
    """The protocol of uvicorn for connections on which no request is whole for so long.

    uvicorn waits for the head of a request without end.
    """

    class Patient(AutoHTTPProtocol):
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
