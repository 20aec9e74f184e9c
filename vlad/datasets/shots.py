"""Few-shot: draw the reference images of a head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from vlad.errors import InputError
from vlad.system.numbers import check_count

T = TypeVar("T")


def draw_shots(samples: Sequence[T], k_shot: int | None, seed: int) -> list[T]:
    """Draw `k_shot` normal images without replacement; None takes all.

    Raises:
        InputError: fewer images than shots, or a number out of range.
    """
    check_count("seed", seed, 0)
    if k_shot is None:
        return list(samples)
    check_count("k_shot", k_shot, 0)
    if k_shot > len(samples):
        raise InputError(
            f"`k_shot` is {k_shot}, but there are only {len(samples)} normal images; lower it or "
            "give more."
        )
    drawn = np.random.default_rng(seed).choice(len(samples), size=k_shot, replace=False)
    return [samples[i] for i in sorted(drawn)]
