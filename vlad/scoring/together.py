"""Normal images for a head that wants to see all of them at once."""

from __future__ import annotations

from vlad.heads import Head
from vlad.types import Features


class Together:
    """The collector of a head that sees all normal images at once."""

    def __init__(self, head: Head):
        self.head = head
        self.parts: list[Features] = []

    def add(self, features: Features) -> None:
        self.parts.append(features)

    def finish(self) -> None:
        self.head.fit(Features.cat(self.parts))
