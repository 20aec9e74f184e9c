"""Copies between the host and the backbone's device, as few and as quiet as possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from vlad.types import Scores

PARTS = ("image_score", "anomaly_map", "kind")  # of scores, in order


def upload(each: Sequence[np.ndarray], device: torch.device) -> torch.Tensor:
    """Arrays of one shape as one tensor (N, ...) on a device.

    The copy to a GPU starts from pinned memory, and the host does not wait for it.
    """
    first = np.asarray(each[0])
    kind = torch.from_numpy(np.empty(0, first.dtype)).dtype
    # the buffer outlives this function until the copy is done: torch's allocator sees to it
    held = torch.empty(
        (len(each), *first.shape), dtype=kind, pin_memory=torch.device(device).type == "cuda"
    )
    np.stack(each, out=held.numpy())
    return held.to(device, non_blocking=True)


def arrays(
    scores: Mapping[str, Scores], further: torch.Tensor | None = None
) -> tuple[dict[str, Scores], np.ndarray | None]:
    """The scores of a batch by every head, and a further tensor, as arrays.

    From a GPU all of them come in one copy, so that the host waits once a batch.
    """
    named = {
        (head, name): x
        for head, own in scores.items()
        for name in PARTS
        if isinstance(x := getattr(own, name), torch.Tensor)
    }
    found = _download([*named.values(), *([] if further is None else [further])])
    copied = dict(zip(named, found, strict=False))  # one more if there is a further one

    def part(head: str, name: str):
        return copied.get((head, name), getattr(scores[head], name))

    each = {}
    for head, own in scores.items():
        score, anomaly_map, kind = (part(head, name) for name in PARTS)
        each[head] = Scores(score, anomaly_map, kind, own.errors)
    return each, None if further is None else found[-1]


def _download(tensors: Sequence[torch.Tensor]) -> list[np.ndarray]:
    if all(x.device.type == "cpu" for x in tensors):
        return [x.numpy() for x in tensors]
    # a vision-language model, for one, scores on the CPU
    return _in_one_copy(tensors, next(x.device for x in tensors if x.device.type != "cpu"))


def _in_one_copy(tensors: Sequence[torch.Tensor], device: torch.device) -> list[np.ndarray]:
    flat = [
        x.to(device, non_blocking=True).contiguous().flatten().view(torch.uint8) for x in tensors
    ]
    parts = torch.cat(flat).cpu().split([len(x) for x in flat])
    # cloned, since numbers start at multiples of their size only by themselves
    return [
        part.clone().view(x.dtype).reshape(x.shape).numpy()
        for part, x in zip(parts, tensors, strict=True)
    ]
