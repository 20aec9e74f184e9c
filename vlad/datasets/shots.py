"""Few shots: which of the normal images a head is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from vlad.errors import InputError
from vlad.system.numbers import check_count

T = TypeVar("T")


def draw_shots(samples: Sequence[T], k_shot: int | None, seed: int) -> list[T]:
    """`k_shot` of the normal images, drawn without replacement; None takes them all.

    Raises:
        InputError: fewer images than shots, or either number out of its range.
    """
    check_count("seed", seed, 0)
    if k_shot is None:
        return list(samples)
    check_count("k_shot", k_shot, 0)
    if k_shot > len(samples):
        raise InputError(
            f"{k_shot} normal images were asked for but only {len(samples)} are given; lower "
            "k_shot or give more of them."
        )
    drawn = np.random.default_rng(seed).choice(len(samples), size=k_shot, replace=False)
    return [samples[i] for i in sorted(drawn)]
