"""SubspaceAD (Lendering et al., CVPR 2026, arXiv 2602.23013)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from vlad.heads.head import Batched
from vlad.heads.moments import check
from vlad.heads.rules import FLAG, LAYERS, PART, SHARE, one_of, optional, whole
from vlad.images.normals import RandomRotations
from vlad.maths.attended import attended
from vlad.maths.foreground import foreground
from vlad.maths.maps import top_mean, upsample
from vlad.maths.moments import Moments
from vlad.maths.parts import parts_of, worst_cells
from vlad.system.spool import Spool
from vlad.types import (
    BackboneInfo,
    Features,
    FeatureSpec,
    Layer,
    Parts,
    Reason,
    Residual,
    Scores,
    Stream,
    TextFeatures,
)

# blocks 23 to 29 of the 40 of DINOv2's largest, as shares of the depth
MIDDLE = tuple(n / 40 for n in range(23, 30))
SIGMA = 4.0  # of the 3×3 Gaussian that smooths the map, in pixels
ROUNDING = 1e-7
BLOCK = 7  # whose attention masks read, of backbones of any depth, as the authors have it
END = 30.0  # of the scale of maps, in mean residuals of the normal patches


# moments of the rows learned from, and the number that their sums are divided by
Seen = tuple[Moments, int]


@dataclass(eq=False, repr=False)
class Subspace(Batched):
    """Squared distance of each patch from the subspace in which patches of normal images vary.

    The tokens of several blocks are averaged. The principal components that hold 99 % of the
    variance of the normal patches span the subspace; many rotations of each normal image are among
    them. The image score is the mean of the top 1 % of the map.

    As in the authors' code, the mean comes from one draw of rotations and the covariance about it
    from another.

    Args:
        layers: blocks whose patch tokens are compared: block numbers, fractions of the depth, or
            lists of them whose tokens are averaged first; None takes those that the backbone names
            for this, else the mean of seven of its middle blocks. Residuals of several layers are
            averaged.
        variance: share of the variance that the subspace holds.
        rotations: number of rotations of each normal image in a draw.
        seed: of the draws.
        top: fraction of the map's pixels whose mean is the image score; 0 is the maximum.
        mask: sets patches off the object to 0: "pca" by a principal component of each image scored;
            "attention" those 15 % that the registers attend to least in block 7, "otsu" those below
            Otsu's threshold of that attention, and neither is learned from.
        count_masked: whether sums over the patches learned from are divided by the number of all
            patches, as in the authors' program, which draws the mean towards 0; else by theirs.
        batched: whether to use the scored images themselves in place of normal ones, which makes
            the head transductive; residuals are then over their mean.
    """

    rules: ClassVar = {
        "layers": optional(LAYERS),
        "variance": PART,
        "rotations": whole(0, 1000),
        "seed": whole(0, 2**32 - 1),
        "top": SHARE,
        "mask": optional(one_of("pca", "attention", "otsu")),
        "count_masked": FLAG,
        "batched": FLAG,
    }

    layers: Parts | None = None
    variance: float = 0.99
    rotations: int = 30
    seed: int = 42
    top: float = 0.01
    mask: Literal["pca", "attention", "otsu"] | None = None
    count_masked: bool = True
    batched: bool = False

    @property
    def normal_views(self) -> RandomRotations:  # type: ignore[override]
        """Both draws of rotations, one after the other."""
        return RandomRotations(2 * self.rotations, self.seed)

    @property
    def map_range(self) -> tuple[float, float]:
        """From 0 to 30 mean residuals of the normal patches; these are the unit if batched."""
        return 0.0, float(f"{END * _usual(self.memory_):.3g}") if self.memory_ else END

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Raw patch tokens of its layers, and the attention that its mask reads."""
        layers = backbone.layers(self.layers or backbone.compare or (MIDDLE,))
        if not self._reads_attention:
            return FeatureSpec(layers=layers, image=False)
        block = min(BLOCK, backbone.depth)
        stream = Stream("attention", first_block=block)
        read = FeatureSpec(layers=(block,), stream=stream, image=False)
        return FeatureSpec(layers=layers, image=False, further=(read,))

    def gather(self) -> _Gather:
        """A collector of normal images.

        Raises:
            HeadError: it is batched.
        """
        self.refuse_normals()
        return _Gather(self)

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images.

        Raises:
            HeadError: the head is not fitted.
        """
        return self.compare(features, self.needed_memory())

    def compare(self, features: Features, memory: Mapping[str, torch.Tensor]) -> Scores:
        """Scores of B images against what `subspaces` has found."""
        maps = _mapped(self._residuals(features, memory), features)
        return Scores(top_mean(maps.flatten(1), self.top), maps)

    def contributions(self, features: Features, text: TextFeatures | None) -> torch.Tensor | None:
        """(h·w,) what each patch adds to the mean of the top of the map; None if batched."""
        if self.batched:
            return None
        found = self._residuals(features, self.needed_memory())
        return parts_of(lambda x: self._pooled(x, features), found)[0]

    def without(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> torch.Tensor | None:
        """Scores with the tokens of each region moved into the subspace; None if batched."""
        if self.batched:
            return None
        found = self._residuals(features, self.needed_memory())
        return self._pooled(torch.where(regions, 0.0, found), features)

    def _pooled(self, found: torch.Tensor, features: Features) -> torch.Tensor:
        """(B, h·w) squared distances -> (B,) scores."""
        return top_mean(_mapped(found, features).flatten(1), self.top)

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """What the subspace cannot rebuild of each region's worst patch, as of all its layers."""
        if self.batched:
            return [()] * len(regions)
        memory = self.needed_memory()
        found = self._residuals(features, memory)[0]
        worst = worst_cells(found, regions)
        whole, components = torch.zeros_like(found), 0
        for name, x in features.patches.items():
            mean, basis = memory[f"{name}.mean"], memory[f"{name}.basis"]
            whole = whole + (x[0] - mean).square().sum(dim=-1) / len(features.patches)
            components += basis.shape[1]
        usual, shares = _usual(memory), found / whole.clamp_min(1e-12)
        return [
            (Residual(shares[at].item(), components, found[at].item() / usual),)
            for at in worst.tolist()
        ]

    def _residuals(self, features: Features, memory: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, h·w) squared distances, averaged over layers; 0 off the object with a mask."""
        each = [
            residual(x, memory[f"{name}.mean"], memory[f"{name}.basis"])
            for name, x in features.patches.items()
        ]
        found = torch.stack(each).mean(dim=0)
        if self._reads_attention:
            found = torch.where(self.learned_from(features), found, 0.0)
        elif self.mask:
            first = next(iter(features.patches.values()))
            found = torch.where(foreground(first, features.grid), found, 0.0)
        return found

    @property
    def _reads_attention(self) -> bool:
        return self.mask in ("attention", "otsu")

    def learned_from(self, features: Features) -> torch.Tensor:
        """(B, N) bool, the patches that a mask by attention keeps; all true without one."""
        if not self._reads_attention:
            first = next(iter(features.patches.values()))
            return torch.ones(first.shape[:2], dtype=torch.bool, device=first.device)
        (attention,) = features.further[0].patches.values()
        return attended(attention[..., 0], "otsu" if self.mask == "otsu" else "rank")

    def pool(self) -> _Pool:
        """A collector of images that are compared with one another."""
        return _Pool(self)

    def subspaces(
        self, means: Mapping[str, Seen], spreads: Mapping[str, Seen]
    ) -> dict[str, torch.Tensor]:
        """The subspace of each layer about the mean of some rows, in which others vary.

        Raises:
            HeadError: the rows are alike, or no numbers.
        """
        check(self, {name: moments for name, (moments, _) in spreads.items()})
        memory: dict[str, torch.Tensor] = {}
        for name, (spread, shown) in spreads.items():
            centre, every = means[name]
            mean = centre.mean * (centre.count / every)
            covariance = spread.covariance(centre=mean) * (spread.count / (shown - 1))
            values, vectors = torch.linalg.eigh(covariance)
            values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
            shares = values.cumsum(dim=0) / values.sum()
            kept = min(int((shares < self.variance).sum()) + 1, len(values))
            # at least the rounding of float32, if nothing is left
            rest = values[kept:].sum() + ROUNDING * values.sum()
            found = {"mean": mean, "basis": vectors[:, :kept].contiguous(), "residual": rest}
            memory |= {f"{name}.{part}": x.float() for part, x in found.items()}
        return memory


def residual(tokens: torch.Tensor, mean: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """(B, N, C) tokens -> (B, N) squared distance from a subspace.

    Args:
        mean: (C,), a point of it.
        basis: (C, k) orthonormal directions.
    """
    centred = tokens - mean
    return (centred - (centred @ basis) @ basis.T).square().sum(dim=-1)


def _usual(memory: Mapping[str, torch.Tensor]) -> float:
    """Mean residual of normal patches, averaged over layers; above 0."""
    every = [x.item() for name, x in memory.items() if name.endswith(".residual")]
    return sum(every) / len(every)


def _mapped(found: torch.Tensor, features: Features) -> torch.Tensor:
    """(B, h·w) residuals -> (B, H, W) map."""
    return smoothed(upsample(found.unflatten(1, features.grid), features.size))


def smoothed(maps: torch.Tensor) -> torch.Tensor:
    """(B, H, W) maps under a 3×3 Gaussian, the border mirrored without its edge."""
    side = math.exp(-0.5 / SIGMA**2)
    taps = torch.tensor([side, 1.0, side]) / (1 + 2 * side)
    weights = taps.to(maps, non_blocking=True)
    padded = F.pad(maps[:, None], (1, 1, 1, 1), mode="reflect")
    return F.conv2d(padded, torch.outer(weights, weights)[None, None])[:, 0]


class _Gather:
    """Moments of both draws of rotations; the image itself is in both."""

    def __init__(self, head: Subspace):
        self.head, self.seen = head, 0
        self.means: dict[str, Seen] = {}
        self.spreads: dict[str, Seen] = {}

    def add(self, features: Features) -> None:
        count = len(next(iter(features.patches.values())))
        draws = self.head.rotations
        places = torch.arange(self.seen, self.seen + count) % (1 + 2 * draws)
        self.seen += count
        on_object = self.head.learned_from(features)
        for kept, known in (
            (places <= draws, self.means),
            ((places == 0) | (places > draws), self.spreads),
        ):
            if kept.any():
                add(known, features.patches, on_object, kept, self.head.count_masked)

    def finish(self) -> None:
        self.head.memory_ = self.head.subspaces(self.means, self.spreads)


class _Pool:
    """Keeps the images and their moments until all are added."""

    def __init__(self, head: Subspace):
        self.head = head
        self.spool = Spool()
        self.moments: dict[str, Seen] = {}
        self.parts: list[Features] = []

    def add(self, features: Features, text: TextFeatures | None = None) -> None:
        every = features.patches.values()
        finite = torch.stack([x.isfinite().flatten(1).all(dim=1) for x in every]).all(dim=0)
        if finite.any():
            kept = self.head.learned_from(features)
            add(self.moments, features.patches, kept, finite, self.head.count_masked)
        stored = {n: self.spool.keep(x) for n, x in features.patches.items()}
        self.parts.append(replace(features, patches=stored))

    def scores(self, progress: Callable[[int, int], None] | None = None) -> Iterator[Scores]:
        memory = self.head.subspaces(self.moments, self.moments)
        rest = torch.stack([x for name, x in memory.items() if name.endswith(".residual")]).mean()
        for done, part in enumerate(self.parts, start=1):
            patches = {n: x.to(rest.device) for n, x in part.patches.items()}
            found = self.head.compare(replace(part, patches=patches), memory)
            # in mean residuals, since no fit gives the maps a scale
            yield Scores(found.image_score / rest, found.anomaly_map / rest)
            if progress:
                progress(done, len(self.parts))


def add(
    known: dict[str, Seen],
    patches: Mapping[Layer, torch.Tensor],
    on_object: torch.Tensor,
    images: torch.Tensor,
    count_masked: bool,
) -> None:
    """Add (B, N, C) tokens of each layer to what is known.

    Args:
        on_object: (B, N) bool, the tokens that are learned from.
        images: (B,) bool, the images that are.
        count_masked: whether all tokens of these images count.
    """
    for name, x in patches.items():
        own = images.to(x.device)
        rows = x[own][on_object[own]]
        count = int(own.sum()) * x.shape[1] if count_masked else len(rows)
        new, before = Moments.of(rows), known.get(str(name))
        known[str(name)] = (before[0].merge(new), before[1] + count) if before else (new, count)
