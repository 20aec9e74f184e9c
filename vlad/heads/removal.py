"""Taking single images out of what a head remembers, where it keeps their rows apart."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from vlad.errors import HeadError, InputError
from vlad.heads.head import Head
from vlad.system.text import shown


def without(head: Head, count: int, places: Iterable[int]) -> dict[str, torch.Tensor]:
    """What a head would remember had it not been shown some of its images.

    Args:
        count: number of images that it was shown.
        places: of those to take out, from 0 in the order in which it was shown them.

    Raises:
        HeadError: the head does not keep the rows of each image apart.
        InputError: a place that does not exist, no place, or all of them.
    """
    memory = dict(head.needed_memory())
    names = head.rows_of_images
    if not names or any(len(memory[name]) % count for name in names):
        raise HeadError(
            f"Head {head.name} cannot take single images out of what it learned; call `fit` with "
            "the images to keep."
        )
    given = list(places)
    for place in given:
        if type(place) is not int or not 0 <= place < count:
            raise InputError(
                f"There is no normal image {shown(repr(place))}: the detector was shown {count}, "
                f"counted from 0; give whole numbers up to {count - 1}."
            )
    if len(set(given)) in (0, count):
        raise InputError(
            f"{len(set(given))} of {count} normal images to remove; give at least one, and leave "
            "at least one."
        )
    kept = torch.ones(count, dtype=torch.bool)
    kept[given] = False
    for name in names:
        rows = memory[name]
        memory[name] = rows.unflatten(0, (count, -1))[kept.to(rows.device)].flatten(0, 1)
    return memory
