"""Split normal images: fit the head on some, set the threshold on the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from vlad.calibration.conformal import least_reference
from vlad.datasets.shots import draw_shots

T = TypeVar("T")


def split_normals(
    normals: Sequence[T], k_shot: int | None, seed: int, false_alarms: float
) -> tuple[list[T], list[T]]:
    """Split into the head's reference images and images held out for its threshold.

    Args:
        k_shot: number of reference images, drawn with `seed`; None takes half, or all if the other
            half is too few for the false-alarm rate.

    Returns:
        The two lists; the second is empty if too few are left for the rate.

    Raises:
        InputError: fewer images than shots.
    """
    least = least_reference(false_alarms)
    half = (len(normals) + 1) // 2
    if k_shot is None and len(normals) - half >= least:
        k_shot = half
    places = range(len(normals))
    shown = draw_shots(places, k_shot, seed)
    held_out = sorted(set(places).difference(shown))
    if len(held_out) < least:
        held_out = []
    return [normals[i] for i in shown], [normals[i] for i in held_out]
