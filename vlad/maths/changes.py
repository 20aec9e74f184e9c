"""Changes between two images, from the maps of a convolutional network: align, then decode.

The network is that of MetaUAS (Gao, NeurIPS 2024, arXiv 2505.09265), as a function of its tensors:
soft alignment, then a U-Net whose blocks gate channels and places (scSE: Roy et al., MICCAI 2018,
arXiv 1803.02579).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from vlad.maths.networks import Tensors, batch_norm

ALIGNED = 3  # coarsest maps that are compared with a normal image
BLOCKS = 5  # of the decoder, each doubling the grid


def aligned(query: torch.Tensor, prompt: torch.Tensor, tensors: Tensors, name: str) -> torch.Tensor:
    """What a normal image shows where it looks like each place of an image.

    The mean of all places of the normal image, weighted by the softmax of their products, without
    a scale, by one linear map for both images.

    Args:
        query: (B, C, h, w) map of images.
        prompt: (B or 1, C, h', w') map of a normal image.

    Returns:
        (B, C, h, w).
    """
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    prompt = prompt.expand(len(query), -1, -1, -1)
    q, k = (F.conv2d(x, weight, bias).flatten(2) for x in (query, prompt))
    attention = (q.transpose(1, 2) @ k).softmax(dim=2)
    return (
        (attention @ prompt.flatten(2).transpose(1, 2))
        .transpose(1, 2)
        .unflatten(2, query.shape[2:])
    )


def change_logit(
    query: Sequence[torch.Tensor], prompt: Sequence[torch.Tensor], tensors: Tensors, training: bool
) -> torch.Tensor:
    """(B, H, W) logit of a change at each pixel.

    Args:
        query: five maps (B, C, h, w) of images, finest first, each half as fine as the one before.
        prompt: the `ALIGNED` coarsest maps of normal images, or more, finest first.
        training: as in `vlad.maths.networks.batch_norm`.
    """
    skips = list(query[::-1])
    for i, known in enumerate(prompt[: -ALIGNED - 1 : -1]):
        skips[i] = torch.cat([skips[i], aligned(skips[i], known, tensors, f"align.{i}")], dim=1)
    x = decoded(skips, tensors, training)
    return F.conv2d(x, tensors["mask.weight"], tensors["mask.bias"])[:, 0]


def decoded(maps: Sequence[torch.Tensor], tensors: Tensors, training: bool) -> torch.Tensor:
    """(B, C, h, w) maps, coarsest first -> (B, D, 2h, 2w) of the finest."""
    x, *skips = maps
    for i in range(BLOCKS):
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        gates = i < len(skips)
        if gates:
            x = gated(torch.cat([x, skips[i]], dim=1), tensors, f"blocks.{i}.gate_1")
        for n in (1, 2):
            x = F.conv2d(x, tensors[f"blocks.{i}.conv_{n}.weight"], padding=1)
            x = batch_norm(x, tensors, f"blocks.{i}.norm_{n}", training).relu()
        if gates:
            x = gated(x, tensors, f"blocks.{i}.gate_2")
    return x


def gated(x: torch.Tensor, tensors: Tensors, name: str) -> torch.Tensor:
    """(B, C, h, w) times the sum of a gate for each channel and one for each place."""

    def linear(x: torch.Tensor, part: str) -> torch.Tensor:
        return F.conv2d(x, tensors[f"{name}.{part}.weight"], tensors[f"{name}.{part}.bias"])

    channels = linear(linear(x.mean(dim=(2, 3), keepdim=True), "down").relu(), "up")
    return x * (channels.sigmoid() + linear(x, "place").sigmoid())
