"""What a run will cost, from its first answers."""

from __future__ import annotations

from collections.abc import Sequence

from vlad.system.progress import duration
from vlad.system.text import counted
from vlad.vlm.model import Reply


def estimate(replies: Sequence[Reply], seconds: float, left: int) -> str:
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
