"""INP-Former (Luo et al., CVPR 2025, arXiv 2503.02424)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from vlad.adapters import Adapter, load_adapter
from vlad.adapters.layouts import EIGHT
from vlad.heads.head import Head
from vlad.heads.inp_steps import distance
from vlad.heads.inp_tokens import Projected, joined
from vlad.heads.rules import ADAPTER, FLAG, LAYERS, optional, whole
from vlad.images.normals import ITSELF, Altered, Views
from vlad.maths.maps import top_mean, upsample
from vlad.maths.parts import parts_of
from vlad.maths.prototypes import prototypes, rebuilt, to_prototypes
from vlad.types import BackboneInfo, Features, FeatureSpec, Parts, Scores, TextFeatures

SIDE = 256  # pixels a side of the maps that scores are read from
SIGMA, RADIUS = 4.0, 2  # of the Gaussian on these, in pixels
TOP = 0.01  # share of their pixels averaged for the image score


@dataclass(eq=False, repr=False)
class INPFormer(Head):
    """Prototypes are gathered from each image itself, and a decoder rebuilds its tokens from them.

    Learned tokens gather what is normal in the image, by attention. A decoder fitted on normal
    images can combine these prototypes alone, so it rebuilds defects badly. A place is as anomalous
    as its tokens differ from the rebuilt ones, by cosine; an image as the mean of the largest
    percent of its map.

    With an adapter, an extractor of prototypes that was trained on other objects, it needs no
    normal images: a place is as anomalous as it is far from the nearest prototype of its image.

    Args:
        adapter: a trained extractor, by name or path (see `vlad.adapters`); None fits all on normal
            images.
        layers: blocks that are rebuilt, in two groups: block numbers, fractions of the depth, or
            lists of them whose tokens are averaged first; None takes those that the backbone names
            for comparisons, else the authors'. An adapter has its own.
        width: numbers to which a seeded projection brings the tokens; None leaves their channels.
        blocks: of the decoder.
        prototypes: how many are gathered from an image.
        views: whether 21 changed views of each normal image are learned too.
        steps: of the optimiser, rounded up to whole passes over the images.
        batch: images in a step, views included.
        seed: seed of the projection, the first weights and the order.
    """

    rules: ClassVar = {
        "adapter": ADAPTER,
        "layers": optional(LAYERS),
        "width": optional(whole(1, 2**14)),
        "blocks": whole(2, 64),
        "prototypes": whole(1, 1024),
        "views": FLAG,
        "steps": whole(1, 10**6),
        "batch": whole(1, 1024),
        "seed": whole(0, 2**32 - 1),
    }
    map_range = (0.0, 2.0)

    adapter: str | Adapter | None = None
    layers: Parts | None = None
    width: int | None = 128
    blocks: int = 4
    prototypes: int = 6
    views: bool = True
    steps: int = 200
    batch: int = 4
    seed: int = 0

    @property
    def normals(self) -> Literal["needed", "unused"]:  # type: ignore[override]
        """Unused with an adapter."""
        return "needed" if self.adapter is None else "unused"

    @property
    def normal_views(self) -> Views:  # type: ignore[override]
        """Those that `views` asks for."""
        return Altered() if self.views else ITSELF

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Raw patch tokens of its layers.

        Raises:
            AdapterError: an adapter that does not fit the backbone.
        """
        if self.adapter is not None:
            self.adapter_ = load_adapter(self.adapter, "inp_former", backbone)
            layers = backbone.layers(self.adapter_.params["layers"])
        else:
            layers = backbone.layers(self.layers or backbone.compare or EIGHT)
        return FeatureSpec(
            layers=layers, image=False, resize="pil_bilinear", pos_embed="bicubic_offset"
        )

    def gather(self) -> Projected | None:
        """A collector of the projected tokens of normal images; None with an adapter."""
        return Projected(self) if self.adapter is None else None

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, in [0, 2].

        Raises:
            HeadError: the head is not fitted, and has no adapter.
        """
        maps = smoothed(self._far(features).unflatten(1, features.grid), features.size)
        score = top_mean(maps.flatten(1), TOP)
        return Scores(score, upsample(maps, features.size))

    def contributions(self, features: Features, text: TextFeatures | None) -> torch.Tensor:
        """(h·w,) what each patch adds to the mean of the top of the map."""
        return parts_of(lambda far: _pooled(far, features), self._far(features))[0]

    def without(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> torch.Tensor:
        """Scores with the tokens of each region rebuilt as they are."""
        return _pooled(torch.where(regions, 0.0, self._far(features)), features)

    def _far(self, features: Features) -> torch.Tensor:
        """(B, h·w) distances to what is rebuilt, or to the nearest prototype.

        Raises:
            HeadError: the head is not fitted, and has no adapter.
        """
        tensors = self.adapter_.tensors if self.adapter_ else self.needed_memory()
        device = next(iter(features.patches.values())).device
        tensors = {name: y.to(device) for name, y in tensors.items()}
        groups, x = joined(features, tensors)
        found = prototypes(x, tensors)
        if self.adapter_ is None:
            made = rebuilt(x, found, tensors, groups.shape[1])
            far = distance(groups, torch.stack(made, dim=1)).mean(dim=1)
        else:
            far = to_prototypes(x, found)
        return far.clamp(min=0)


def _pooled(far: torch.Tensor, features: Features) -> torch.Tensor:
    """(B, h·w) distances -> (B,) scores."""
    maps = smoothed(far.unflatten(1, features.grid), features.size)
    return top_mean(maps.flatten(1), TOP)


def smoothed(grid_map: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(B, h, w) -> (B, 256, 256): enlarged to the input, then brought to 256, and smoothed.

    Beyond the border are zeros, so maps fade there.
    """
    maps = upsample(grid_map, size, align_corners=True)
    maps = upsample(maps, (SIDE, SIDE))[:, None]
    places = torch.arange(-RADIUS, RADIUS + 1.0, device=maps.device)
    taps = torch.exp(-0.5 * (places / SIGMA) ** 2).to(maps)
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    return F.conv2d(maps, kernel[None, None], padding=RADIUS)[:, 0]
