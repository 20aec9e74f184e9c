"""Sentences of a prompt bank, which are alike, as the states that they are about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from vlad.prompts import Prompts
from vlad.types.reasons import NearestSentence, NearestState, Reason

SHOWN = 3  # states of each side; or sentences, if their states are not known


def by_state(reasons: Sequence[Reason], prompts: Prompts | None) -> tuple[Reason, ...]:
    """The reasons, in which the states that pull most stand for all sentences of a side.

    States and sentences that pull away from their side do not speak for it, and are left out. A
    head that names some sentences of a side alone has chosen them, so these stay.
    """
    sentences = [x for x in reasons if isinstance(x, NearestSentence)]
    others = [x for x in reasons if not isinstance(x, NearestSentence)]
    found: list[Reason] = []
    sides: tuple[Literal["anomalous", "normal"], ...] = ("anomalous", "normal")
    for side in sides:
        own = [x for x in sentences if x.side == side]
        states = prompts.states.get(side) if prompts else None
        if prompts and len(own) < len(getattr(prompts, side)):
            found += own
            continue
        ranked = _states(side, own, states) if states else own
        found += [x for x in ranked if x.weight > 0][:SHOWN]
    return (*found, *others)


def _states(
    side: Literal["anomalous", "normal"], sentences: list[NearestSentence], states: Sequence[str]
) -> list[NearestState]:
    """The states of one side, what pulls most first."""
    each: dict[str, list[NearestSentence]] = {}
    for one in sentences:
        each.setdefault(states[one.index], []).append(one)
    found = []
    for state, own in each.items():
        best = max(own, key=lambda one: one.weight)
        weight, equal = sum(one.weight for one in own), len(own) / len(sentences)
        found.append(NearestState(side, state, weight, equal, best.index, best.similarity))
    return sorted(found, key=lambda one: -one.weight)
