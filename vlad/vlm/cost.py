"""What a run will cost, from its first answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from vlad.system.progress import duration
from vlad.system.text import counted
from vlad.vlm.model import MAX_TOKENS, VLM, Reply, Request


def ask_all(
    vlm: VLM,
    requests: Sequence[Request],
    schema: Mapping | None,
    say: Callable[[str], object],
    max_tokens: int = MAX_TOKENS,
) -> list[Reply]:
    """As `VLM.ask`; if there is more than one batch, says after the first what the rest will cost.

    Args:
        say: is given that sentence.
    """
    start = time.perf_counter()
    replies = vlm.ask(requests[: vlm.batch], schema, max_tokens)
    took = time.perf_counter() - start
    rest = requests[vlm.batch :]
    if rest and (sentence := estimate(replies, took, len(rest))):
        say(sentence)
    return replies + vlm.ask(rest, schema, max_tokens)


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
