"""Copies between the host and the backbone's device, as few and as quiet as possible."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

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


# waits for the scores of a batch as arrays: of every head, and a further one
Download = Callable[[], tuple[dict[str, Scores], np.ndarray | None]]


def download(scores: Mapping[str, Scores], further: torch.Tensor | None = None) -> Download:
    """Begin to copy the scores of a batch by every head, and a further tensor, to the host.

    From a GPU all of them come in one copy, so that the host waits once a batch. The copy follows
    what is launched so far, so no later batch delays it, and holds no memory of the device.
    """
    named = {
        (head, name): x
        for head, own in scores.items()
        for name in PARTS
        if isinstance(x := getattr(own, name), torch.Tensor)
    }
    begun = _begin([*named.values(), *([] if further is None else [further])])
    # what waits for the copy keeps no tensor
    places = list(named)
    rest = {
        head: {name: x for name, x in vars(own).items() if not isinstance(x, torch.Tensor)}
        for head, own in scores.items()
    }

    def arrays() -> tuple[dict[str, Scores], np.ndarray | None]:
        found, each = begun(), {head: dict(own) for head, own in rest.items()}
        for (head, name), x in zip(places, found, strict=False):
            each[head][name] = x
        more = found[len(places) :]
        return {head: Scores(**own) for head, own in each.items()}, more[0] if more else None

    return arrays


def _begin(tensors: Sequence[torch.Tensor]) -> Callable[[], list[np.ndarray]]:
    if all(x.device.type == "cpu" for x in tensors):
        return lambda: [x.numpy() for x in tensors]
    # a vision-language model, for one, scores on the CPU
    return _in_one_copy(tensors, next(x.device for x in tensors if x.device.type != "cpu"))


def _in_one_copy(
    tensors: Sequence[torch.Tensor], device: torch.device
) -> Callable[[], list[np.ndarray]]:
    flat = [
        x.to(device, non_blocking=True).contiguous().flatten().view(torch.uint8) for x in tensors
    ]
    sizes = [len(x) for x in flat]
    kinds = [(x.dtype, x.shape) for x in tensors]
    on_gpu = device.type == "cuda"
    # which torch puts into pinned memory, so that the copy runs beside later work
    host = torch.cat(flat).to("cpu", non_blocking=on_gpu)
    copied = torch.cuda.Event(blocking=True) if on_gpu else None  # it leaves the core to decoding
    if copied:
        copied.record(torch.cuda.current_stream(device))

    def arrays() -> list[np.ndarray]:
        if copied:
            copied.synchronize()
        # cloned, since numbers start at multiples of their size only by themselves
        return [
            part.clone().view(kind).reshape(shape).numpy()
            for part, (kind, shape) in zip(host.split(sizes), kinds, strict=True)
        ]

    return arrays
