"""One image alone: how unlike the rest of its own image a patch is.

vlad's own; it needs neither words nor normal images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from vlad.errors import HeadError
from vlad.heads.head import Layered
from vlad.heads.rules import LAYERS, PART, SHARE, number, optional
from vlad.maths.maps import top_mean, top_parts, upsample
from vlad.maths.neighbours import BLOCK
from vlad.system.room import entries
from vlad.types import Features, NearestPatch, Parts, Reason, Scores, TextFeatures

RANK = 0.03


@dataclass(eq=False, repr=False)
class SelfReference(Layered):
    """Distance of each patch to its k-th nearest other patch of the same image.

    A patch of a texture, an object or a background has many that are like it; a defect has few, and
    k passes over those of its own.

    Args:
        layers: blocks whose patch tokens are compared, distances averaged, as in `memory`.
        rank: k, as a share of the other patches of the image, rounded, at least 1.
        top: fraction of the patches whose mean distance is the image score; 0 is the maximum.
        sigma: standard deviation of the Gaussian that smooths the map, in pixels of the input.
    """

    rules: ClassVar = {
        "layers": optional(LAYERS),
        "rank": PART,
        "top": SHARE,
        "sigma": number(0, 1000, "0 to 1000 pixels"),
    }

    layers: Parts | None = None
    rank: float = RANK
    top: float = 0.01
    sigma: float = 4.0

    @property
    def map_range(self) -> tuple[float, float]:
        """0 to 2, the bounds of 1 − cos."""
        return 0.0, 2.0

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, distances in [0, 2].

        Raises:
            HeadError: an image of a single patch.
        """
        distance = self._distances(features)
        grid_map = quiet_border(distance.unflatten(1, features.grid))
        return Scores(
            image_score=top_mean(distance, self.top),
            anomaly_map=upsample(grid_map, features.size, sigma=self.sigma),
        )

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """Of the worst patch of each region the k-th nearest other patch, by the mean of layers.

        Its distance is that of the head: the mean over layers, each with its own k-th nearest.
        """
        distance = self._distances(features)[0]
        found: list[tuple[Reason, ...]] = []
        usual = distance.median().item()
        for at in torch.where(regions, distance, -torch.inf).argmax(dim=1).tolist():
            units = [F.normalize(x[0], dim=-1) for x in features.patches.values()]
            apart = torch.stack([1 - unit @ unit[at] for unit in units]).mean(dim=0)
            apart[at] = torch.inf
            other = int(apart.argsort()[_place(self.rank, len(apart)) - 1])
            place, cell = (divmod(i, features.grid[1]) for i in (at, other))
            found.append((NearestPatch(None, None, cell, distance[at].item(), usual, place),))
        return found

    def contributions(self, features: Features, text: TextFeatures | None) -> torch.Tensor:
        """Of each patch among the top share its value, divided by their number."""
        return top_parts(self._distances(features)[0], self.top)

    def _distances(self, features: Features) -> torch.Tensor:
        return unlikeness(list(features.patches.values()), self.rank, self.name)


def unlikeness(layers: Sequence[torch.Tensor], rank: float, name: str) -> torch.Tensor:
    """(B, N) distance of each patch to others of its image, mean over layers of (B, N, C) tokens.

    Args:
        rank: as for the head.
        name: of the head that asks.

    Raises:
        HeadError: images of a single patch.
    """
    patches = len(layers[0][0])  # a plain number also while a graph is traced
    if patches < 2:
        raise HeadError(
            f"Head {name} compares the patches of an image, but there is only one; raise the image "
            "size."
        )
    k = _place(rank, patches)
    return torch.stack([torch.stack([_ranked(x, k) for x in one]) for one in layers]).mean(dim=0)


def _place(rank: float, patches: int) -> int:
    """k for a share of the other patches."""
    return max(1, round(rank * (patches - 1)))


def _ranked(patches: torch.Tensor, k: int) -> torch.Tensor:
    """(N, C) -> (N,): 1 − cos to the k-th nearest of the other patches."""
    unit, found = F.normalize(patches.float(), dim=-1), []
    size = max(1, entries(unit.device, BLOCK) // len(unit))
    for block in torch.arange(len(unit), device=unit.device).split(size):
        cosine = unit[block] @ unit.T
        cosine.scatter_(1, block[:, None], -torch.inf)  # a patch is not compared with itself
        found.append(1 - cosine.topk(k, dim=1).values[:, -1])
    return torch.cat(found).clamp_min(0)


def quiet_border(grid_map: torch.Tensor) -> torch.Tensor:
    """(B, h, w), where a patch at the border is no more anomalous than its neighbour inside.

    What a backbone pads its input with makes patches at the border unlike all others.
    """
    height, width = grid_map.shape[1:]
    if min(height, width) < 3:
        return grid_map
    inside = grid_map[:, None, 1:-1, 1:-1]
    return torch.minimum(grid_map, F.pad(inside, (1, 1, 1, 1), mode="replicate")[:, 0])
