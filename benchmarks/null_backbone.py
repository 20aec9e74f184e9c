"""A backbone and a head that compute next to nothing, to measure all that is not the backbone."""

import torch

from vlad.backbones.backbone import Backbone
from vlad.backbones.generic import GenericEncoder
from vlad.heads import Head
from vlad.types import BackboneInfo, FeatureSpec, Scores

SIDE = 16  # pixels of its input, one patch


def load() -> Backbone:
    """The function of an entry point of the group `vlad.backbones`."""
    info = BackboneInfo(
        "null", depth=1, width=3, embed_dim=3, patch_size=SIDE, image_size=SIDE, has_text=False,
        has_cls=False, capabilities=frozenset(),
    )  # fmt: skip
    model = torch.nn.Linear(1, 1)  # for the device and the hash; it is not called
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    return Backbone(info, model, _encoder, None, None, (0.5,) * 3, (0.5,) * 3)


def _encoder(model: torch.nn.Module) -> GenericEncoder:
    def run(pixels, blocks, image):
        means = pixels.mean(dim=(2, 3))
        return {n: means[..., None, None] for n in blocks}, means if image else None

    return GenericEncoder(run, SIDE)


class Null(Head):
    """The mean brightness of an image."""

    map_range = (-10.0, 10.0)

    def spec(self, backbone):
        return FeatureSpec(layers=(1,), image=False)

    def score(self, features, text=None):
        score = features.patches[1].mean(dim=(1, 2))
        return Scores(score, score[:, None, None].expand(-1, *features.size))
