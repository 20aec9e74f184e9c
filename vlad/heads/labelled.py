"""Normal images and a handful of marked defects: a memory of each.

vlad's own, after the idea of a second memory for known defects; the first one is that of `memory`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from vlad.heads.head import Layered
from vlad.heads.memory_layer import Layer, Space
from vlad.heads.memory_search import Search
from vlad.heads.references import unit_rows
from vlad.heads.rules import LAYERS, SHARE, number, optional
from vlad.maths.maps import top_mean, top_mean_without, top_parts, upsample
from vlad.maths.neighbours import Bank
from vlad.types import Features, KnownKind, Parts, Reason, Scores, TextFeatures

COVERED = 0.5  # part of a patch that a mask has to cover for it to be of the defect
HIGHEST = 100.0


@dataclass(eq=False, repr=False)
class Labelled(Layered):
    """Patch memory of normal images that also knows a few marked defects.

    With d the distance of a patch to the nearest normal one, and e that to the nearest one of a
    known defect, the patch scores d + weight · max(0, d − e). So a defect of an unknown kind scores
    as in `memory`, and nothing scores lower. Without known defects it is `memory`.

    Args:
        layers: blocks whose patch tokens are compared, distances averaged, as in `memory`.
        top: fraction of the patches whose mean is the image score; 0 is the maximum.
        sigma: standard deviation of the Gaussian that smooths the map, in pixels of the input.
        weight: how much being nearer to a known defect than to normal images adds.
    """

    normals = "needed"
    additive = True
    rules: ClassVar = {
        "layers": optional(LAYERS),
        "top": SHARE,
        "sigma": number(0, 1000, "0 to 1000 pixels"),
        "weight": number(0, HIGHEST, f"0 to {HIGHEST:g}"),
    }

    layers: Parts | None = None
    top: float = 0.01
    sigma: float = 4.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        self.layers_: dict[str, Layer] = {}

    @property
    def map_range(self) -> tuple[float, float]:
        """0 to 2 · (1 + weight), the bound for cosine distances of at most 2."""
        return 0.0, 2.0 * (1 + self.weight)

    @property
    def known(self) -> list[str]:
        """The kinds of its known defects, sorted."""
        return sorted({name.partition(":")[2] for name in self.memory_ if ":" in name})

    @property
    def rows_of_images(self) -> list[str]:
        """Those of the normal images; known defects stay."""
        return [name for name in self.memory_ if ":" not in name]

    def fit(self, features: Features) -> Labelled:
        """Remember the patches of normal images, and forget known defects."""
        self.memory_ = unit_rows(features)
        return self

    def merge(
        self, first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The normal images and the known defects of both; a kind may be in one alone."""
        joined = {name: torch.cat([first[name], second[name]]) for name in first if name in second}
        return {**first, **second, **joined}

    def fit_known(self, features: Features, cover: torch.Tensor, kinds: Sequence[str]) -> Labelled:
        """Remember the marked patches of B images with defects, in place of those before.

        Args:
            cover: (B, h·w) part of each patch that the mask covers. A patch counts from a half on;
                of a mask that covers no patch that far, the patch that it covers most.
            kinds: B names.

        Raises:
            HeadError: the head is not fitted.
        """
        self.needed_memory()
        marked = cover >= cover.amax(dim=1, keepdim=True).clamp(1e-6, COVERED)
        memory = {name: x for name, x in self.memory_.items() if ":" not in name}
        for layer, x in features.patches.items():
            rows = F.normalize(x, dim=-1)
            for kind in dict.fromkeys(kinds):
                own = torch.tensor([one == kind for one in kinds], device=rows.device)
                memory[f"{layer}:{kind}"] = rows[marked & own[:, None]]
        self.memory_ = memory
        return self

    def unlike_normal(self, features: Features) -> torch.Tensor:
        """(B, h·w) true for the patches that are least like normal images.

        Of all patches of the B images, it is the fraction `top`, or one.

        Raises:
            HeadError: the head is not fitted.
        """
        self.needed_memory()
        distances = self._nearest(features, "")
        count = max(1, int(self.top * distances.numel()))
        marked = torch.zeros(distances.numel(), dtype=torch.bool, device=distances.device)
        marked[distances.flatten().topk(count).indices] = True
        return marked.view_as(distances)

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, and the known kind nearest to the most anomalous patch of each.

        That is none if that patch is nearer to normal images than to any known defect.

        Raises:
            HeadError: the head is not fitted.
        """
        scores, normal, each = self._distances(features)
        return Scores(
            image_score=top_mean(scores, self.top),
            anomaly_map=upsample(
                scores.unflatten(1, features.grid), features.size, sigma=self.sigma
            ),
            kind=_kind(scores, normal, each) if self.known else None,
        )

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """Of the worst patch of each region the nearest reference patch, and the nearest kind.

        The kind comes first if it is nearer than any normal patch.
        """
        scores, normal, each = (x[..., 0, :] for x in self._distances(features))
        search = Search([self._layer(str(n)) for n in features.patches], features.grid)
        tokens = [x[0] for x in features.patches.values()]
        found: list[tuple[Reason, ...]] = []
        for nearest in search.nearest(tokens, scores, regions):
            if not self.known:
                found.append((nearest,))
                continue
            at = nearest.patch[0] * features.grid[1] + nearest.patch[1]
            distance, place = each[:, at].min(dim=0)
            kind = KnownKind(self.known[place], distance.item(), normal[at].item())
            nearer = kind.distance < kind.normal
            found.append((kind, nearest) if nearer else (nearest, kind))
        return found

    def contributions(self, features: Features, text: TextFeatures | None) -> torch.Tensor:
        """Of each patch among the top share its value, divided by their number."""
        return top_parts(self._distances(features)[0][0], self.top)

    def without(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> torch.Tensor:
        """Scores with the tokens of each region replaced by the nearest normal ones."""
        return top_mean_without(self._distances(features)[0][0], regions, self.top)

    def _distances(self, features: Features) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, N) scores, (B, N) distances to normal images, (K, B, N) to each known kind."""
        self.needed_memory()
        normal = self._nearest(features, "")
        if not self.known:
            warnings.warn(
                f"Head {self.name} was shown no known defects and scores as memory does; give "
                "`known_defects`.",
                stacklevel=2,
            )
            return normal, normal, normal[None]
        each = torch.stack([self._nearest(features, f":{kind}") for kind in self.known])
        return normal + self.weight * (normal - each.amin(dim=0)).clamp_min(0), normal, each

    def _layer(self, name: str) -> Layer:
        """What it remembers of a layer of normal images, prepared once."""
        rows, layer = self.memory_[name], self.layers_.get(name)
        if layer is None or layer.source is not rows:
            layer = self.layers_[name] = Layer(rows, Space("cosine"))
        return layer

    def _nearest(self, features: Features, of: str) -> torch.Tensor:
        """(B, N) distance of each patch to the nearest one remembered, averaged over layers."""
        found = [
            Bank(self.memory_[f"{layer}{of}"], "cosine", features.bfloat16).nearest(x)
            for layer, x in features.patches.items()
        ]
        return torch.stack(found).mean(dim=0)


def _kind(scores: torch.Tensor, normal: torch.Tensor, each: torch.Tensor) -> torch.Tensor:
    """(B,) place of the kind nearest to the patch of each image that scores highest, or -1."""
    worst = scores.argmax(dim=1, keepdim=True)
    near, kind = each.gather(2, worst.expand(len(each), -1, 1)).min(dim=0)
    return torch.where(near < normal.gather(1, worst), kind, -1)[:, 0]
