"""A safetensors file, part by part: its tensors may be larger than what is left of the memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def parts(tensors: Mapping[str, torch.Tensor], words: Mapping[str, str]) -> Iterator[bytes]:
    """The bytes that `safetensors.torch.save` gives of tensors in float32, each tensor a part.

    Args:
        words: the file's metadata.
    """
    names = sorted(tensors)
    header: dict[str, object] = {"__metadata__": dict(words)}
    end = 0
    for name in names:
        start, end = end, end + 4 * tensors[name].numel()
        shape = list(tensors[name].shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in names:
        yield tensors[name].detach().float().cpu().numpy().astype("<f4", copy=False).tobytes()
