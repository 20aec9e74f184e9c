"""The requests being answered, and whether more are taken."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Traffic:
    """What the guard, the server process and /readyz know of each other.

    Attributes:
        posted: POST requests being answered.
        draining: whether new ones are refused, because the service is stopping.
    """

    posted: int = 0
    draining: bool = False
