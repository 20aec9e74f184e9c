"""Maps of a convolutional network for a small backbone, which has none of its own."""

from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F

CHANNELS = (4, 4, 6, 8, 8)


def small_maps(pixels):
    """Maps of a random network at strides 2 to 32."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for level, channels in enumerate(CHANNELS, 1):
        weight = torch.randn(channels, pixels.shape[1], 1, 1, generator=generator)
        found.append(F.conv2d(F.avg_pool2d(pixels, 2**level), weight).tanh())
    return tuple(found)


def with_maps(backbone):
    """A backbone that gives these maps too."""
    found = backbone.info.capabilities | {"pyramid"}
    backbone.info = replace(backbone.info, capabilities=found, pyramid=CHANNELS)
    backbone.build = partial(_build, backbone.build)
    backbone.vision = backbone.build(backbone.model)
    return backbone


def _build(build, model):
    return replace(build(model), pyramid=small_maps)
