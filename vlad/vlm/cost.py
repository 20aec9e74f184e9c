"""What a run will cost, from its first answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vlad.system.progress import duration
from vlad.system.text import counted

if TYPE_CHECKING:
    from vlad.vlm.model import Choice, Reply


class Cost:
    """Says once what a run will cost, after the first answers that did not come from the cache.

    Args:
        requests: of the run.
        tell: is given the sentence.
    """

    def __init__(self, requests: int, tell: Callable[[str], object]) -> None:
        self.left, self.tell = requests, tell
        self.said = False

    def count(self, replies: Sequence[Reply | Choice], seconds: float = 0.0) -> None:
        """Count answers, which took `seconds` together."""
        self.left -= len(replies)
        if not self.said and self.left > 0 and (cost := estimate(replies, seconds, self.left)):
            self.said = True
            self.tell(cost)


def estimate(replies: Sequence[Reply | Choice], seconds: float, left: int) -> str:
    """What `left` more requests will cost, as a sentence; "" if all answers came from the cache.

    Args:
        replies: the first ones, which took `seconds` together.
    """
    asked = [reply for reply in replies if reply.seconds]
    if not asked:
        return ""
    read, written = (
        round(left * sum(getattr(reply, side) for reply in asked) / len(asked))
        for side in ("tokens_in", "tokens_out")
    )
    tokens = f"{read:,} tokens to read, {written:,} to write and " if read else ""
    return (
        f"{counted(left, 'request')} left: about {tokens}{duration(left * seconds / len(asked))}."
    )
