"""MuSc, mutual scoring of the unlabelled images (Li et al., ICLR 2024, arXiv 2401.16753)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from vlad.errors import HeadError
from vlad.heads.head import Head
from vlad.heads.rules import LAYERS, ODD, Rule, list_of, number, optional, whole
from vlad.maths.maps import upsample
from vlad.maths.mutual import block_pairs, block_side, mutual_similarity, similarity_to
from vlad.maths.precision import PAD, as_bfloat16
from vlad.maths.rescore import rescore, rescore_against
from vlad.system.spool import Spool
from vlad.types import BackboneInfo, Features, FeatureSpec, Layer, Parts, Scores, TextFeatures

BOUNDS = list_of(number(0, 1e9, ""), "")


def is_interval(value: Any) -> bool:
    """Return whether it is two numbers, fractions or counts, the second above the first."""
    if not BOUNDS.holds(value) or len(value) != 2:
        return False
    low, high = value
    # a count and a fraction can only be compared once the images are counted
    return high > 0 and (low < high or low < 1 <= high)


class MuSc(Head):
    """Patches of normal images have near matches in many other images; anomalies do not.

    Patch tokens are averaged over r×r neighbourhoods (LNAMD, paper section 3.2), compared with
    those of every other image (MSM, section 3.3), and image scores are averaged with those of
    similar images (RsCIN, section 3.4). All images are scored jointly: results are
    **transductive**. After `fit`, new images are scored one by one against a reference pool.

    N images of P patches with C channels in L layers take 4·N·P·(L·C + C + N) bytes for tokens, the
    rows compared and their similarities. At most 2 GiB of this are in memory and the rest in
    temporary files, so the peak is about 3 GiB above the backbone's for any N.

    If the backbone runs in bfloat16, images are compared in bfloat16. In half precision, maps move
    by less than 2e-2 of their range. Re-scored image scores can move by more: they are scaled to
    the range over the images, and one neighbour more or less makes a step.

    Args:
        layers: blocks whose patch tokens are compared, as for `memory`; None takes those that
            the backbone names for this, else the four quarters of the depth.
        r: odd sides of the neighbourhoods to average.
        interval: which distances to the other images count, sorted from the smallest: those between
            these two fractions of their number, or counts if 1 or more; (0, 1) is only the
            smallest. At least one always counts; the authors' code gives NaN for few images.
        rescore: neighbourhood sizes k of RsCIN, including the image; () disables it.
    """

    map_range = (0.0, 2.0)
    rules: ClassVar = {
        "layers": optional(LAYERS),
        "r": list_of(ODD, "a list of odd numbers below 100"),
        "interval": Rule(is_interval, "two numbers, from and to, such as [0, 0.3]"),
        "rescore": list_of(whole(1, 10**6), "a list of whole numbers, or empty", least=0),
    }

    def __init__(
        self,
        layers: Parts | None = None,
        r: tuple[int, ...] = (1, 3, 5),
        interval: tuple[float, float] = (0, 0.3),
        rescore: tuple[int, ...] = (1, 2, 3),
    ):
        self.layers = layers
        self.r = r
        self.interval = interval
        self.rescore = rescore

    @property
    def transductive(self) -> bool:
        """True until the head has a reference pool: images are then scored jointly."""
        return not self.fitted

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Raw patch tokens of its layers; GELU and positional embedding as in the authors' code."""
        return FeatureSpec(
            layers=backbone.layers(self.layers or backbone.compare or (0.25, 0.5, 0.75, 1.0)),
            activation="gelu",
            # their code for CLIP; their DINOv2 keeps its own
            pos_embed="bicubic" if backbone.has_text else None,
        )

    def fit(self, features: Features) -> MuSc:
        """Remember a reference pool of at least two images, normal or not.

        An image of the pool, scored again, matches itself at a distance of only rounding (up to
        1e-3, the root of float32's precision in 1 − cos).

        Raises:
            HeadError: fewer than two images, or an image with non-finite features.
        """
        pool = MuScPool(self)
        pool.add(features)
        scores = torch.cat(list(pool.largest(pool.grid_maps())))
        if not scores.isfinite().all():
            raise HeadError("Head musc: an image of the pool has non-finite features; remove it.")
        assert features.image is not None  # the spec asks for it
        self.memory_ = {
            **{f"tokens.{n}": x for n, x in features.patches.items()},
            "image": features.image,
            "distance": scores.to(features.image),
        }
        return self

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, each compared with the pool only.

        Raises:
            HeadError: the head is not fitted.
        """
        if "distance" not in self.memory_:
            raise HeadError(
                "Head musc compares images with each other: give a list, or fit a pool."
            )
        total = []
        for n, tokens in features.patches.items():
            for side in self.r:
                rows = aggregate(tokens, features.grid, side)
                pool = aggregate(self.memory_[f"tokens.{n}"], features.grid, side)
                if features.bfloat16:
                    rows, pool = as_bfloat16(rows), as_bfloat16(pool)
                total.append(mean_distance(similarity_to(rows, pool), self.interval))
        grid_map = torch.stack(total).mean(dim=0).unflatten(1, features.grid)
        anomaly_map = upsample(grid_map, features.size, align_corners=True)
        score = anomaly_map.flatten(1).amax(dim=1)
        if self.rescore:
            assert features.image is not None  # the spec asks for it
            known = self.memory_["distance"], self.memory_["image"]
            score = rescore_against(score, features.image, *known, self.rescore)
        return Scores(score, anomaly_map)

    def pool(self) -> MuScPool:
        """A collector of images to score jointly."""
        return MuScPool(self)


class MuScPool:
    """Images to score jointly once all are added."""

    def __init__(self, head: MuSc):
        self.head = head
        self.spool = Spool()
        self.tokens: dict[Layer, list[torch.Tensor]] = {}
        self.images: list[torch.Tensor] = []
        self.finite: list[torch.Tensor] = []
        # those of the images
        self.device, self.bfloat16 = torch.device("cpu"), False
        self.grid: tuple[int, int] = (0, 0)
        self.size: tuple[int, int] = (0, 0)

    def add(self, features: Features, text: TextFeatures | None = None) -> None:
        """Add a batch; images with non-finite features are not compared.

        Raises:
            HeadError: the size of the images differs from earlier batches.
        """
        if self.tokens and features.size != self.size:
            raise HeadError(
                f"Head musc cannot compare images at {features.size[0]} and {self.size[0]} "
                "pixels; give all of them one image size."
            )
        assert features.image is not None  # the spec asks for it
        finite = features.image.isfinite().all(dim=1)
        for x in features.patches.values():
            finite &= x.isfinite().flatten(1).all(dim=1)
        for n, x in features.patches.items():
            self.tokens.setdefault(n, []).append(self.spool.keep(x[finite]))
        self.images.append(features.image[finite].cpu())
        self.finite.append(finite.cpu())
        self.device, self.grid, self.size = features.image.device, features.grid, features.size
        self.bfloat16 = features.bfloat16

    def scores(self, progress: Callable[[int, int], None] | None = None) -> Iterator[Scores]:
        """Scores in the order added; NaN for images with non-finite features.

        Raises:
            HeadError: fewer than two images to compare.
        """
        grid_maps = self.grid_maps(progress)
        scores = torch.cat(list(self.largest(grid_maps)))
        if self.head.rescore:
            finite = torch.cat(self.finite)
            scores[finite] = rescore(scores[finite], torch.cat(self.images), self.head.rescore)
        for part in grid_maps:
            own, scores = scores[: len(part)], scores[len(part) :]
            yield Scores(own, upsample(part, self.size, align_corners=True))

    def largest(self, grid_maps: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """The maximum of each map at full size, which can be below that of the grid."""
        for part in grid_maps:
            yield upsample(part, self.size, align_corners=True).flatten(1).amax(dim=1)

    def grid_maps(self, progress: Callable[[int, int], None] | None = None) -> list[torch.Tensor]:
        """(B, h, w) mean distances, one tensor for each batch added."""
        count = sum(map(len, self.images))
        if count < 2:
            raise HeadError(
                f"Head musc compares images with each other, but only {count} can be used; give it "
                "at least 2."
            )
        patches = self.grid[0] * self.grid[1]
        settings = [(n, r) for n in self.tokens for r in self.head.r]
        side = block_side(patches, self.device)
        steps = len(settings) * len(list(block_pairs(count, side)))
        ticks = itertools.count(1)

        def tick() -> None:
            done = next(ticks)
            if progress:
                progress(done, steps)

        similarity = self.spool.empty((count, count, patches))
        pad, dtype = (PAD, torch.bfloat16) if self.bfloat16 else (0, torch.float32)
        # stages of a convolutional network have channels of their own
        widths = {n: parts[0].shape[-1] + pad for n, parts in self.tokens.items()}
        room = {w: self.spool.empty((count, patches, w), dtype) for w in set(widths.values())}
        total = torch.zeros(count, patches)
        for n, r in settings:
            at, rows = 0, room[widths[n]]
            for part in self.tokens[n]:
                found = aggregate(part.to(self.device), self.grid, r)
                rows[at : at + len(part)] = as_bfloat16(found) if self.bfloat16 else found
                at += len(part)
            mutual_similarity(rows, similarity, tick, self.device, side)
            for i, near in enumerate(similarity):
                others = torch.cat([near[:i], near[i + 1 :]])
                total[i] += mean_distance(others[None], self.head.interval)[0]
        waiting = iter((total / len(settings)).unflatten(1, self.grid))
        return [
            torch.stack(
                [next(waiting) if good else torch.full(self.grid, torch.nan) for good in part]
            )
            for part in self.finite
        ]


def aggregate(tokens: torch.Tensor, grid: tuple[int, int], side: int) -> torch.Tensor:
    """LNAMD: (B, h·w, C) tokens -> unit vectors of their side×side neighbourhoods.

    Each image is normalised as a whole. The authors' adaptive pooling of the unfolded neighbourhood
    equals the mean of each channel over it, including zeros beyond the border.
    """
    x = F.layer_norm(tokens, tokens.shape[1:])
    if side > 1:
        image = x.transpose(1, 2).unflatten(2, grid)
        x = F.avg_pool2d(image, side, stride=1, padding=side // 2).flatten(2).transpose(1, 2)
    return F.normalize(x, dim=-1)


def mean_distance(similarity: torch.Tensor, interval: tuple[float, float]) -> torch.Tensor:
    """MSM: (B, M, P) cosines with M other images -> (B, P) mean of the distances that count."""
    count = similarity.shape[1]
    low, high = (int(x * count) if x < 1 else int(x) for x in interval)
    high = min(max(high, 1), count)
    low = min(low, high - 1)
    nearest = similarity.topk(high, dim=1).values[:, low:]
    return (2 - 2 * nearest).clamp_min(0).sqrt().mean(dim=1)
