"""FiLo (Gu et al., ACM MM 2024, arXiv 2404.13671)."""

from __future__ import annotations

from functools import reduce
from math import sqrt
from typing import ClassVar

import torch
import torch.nn.functional as F

from vlad.adapters import Adapter, load_adapter
from vlad.adapters.shapes import MMCI
from vlad.errors import HeadError
from vlad.heads.head import Trained
from vlad.heads.rules import ADAPTER, FLAG
from vlad.heads.sentences import of_worst_patches
from vlad.maths.boxes import cell, covered
from vlad.maths.logits import Logits, anomalous_logit, side_vectors
from vlad.maths.maps import blur_close
from vlad.maths.networks import linear
from vlad.types import (
    BackboneInfo,
    Features,
    FeatureSpec,
    Reason,
    Scores,
    Stream,
    TextFeatures,
    TextSpec,
)

# the authors divide the vectors of both sides by their common norm, so each is 1/√2 long
SHORT = 1 / sqrt(2)
TEMPERATURE = 0.01 / SHORT  # of patches
IMAGE_TEMPERATURE = 0.07 / SHORT
SIGMA = 4.0
OUTSIDE = 0.7
POSITIONS = 9
REACH = 3  # patches on each side of the middle one, in the widest convolution


class FiLo(Trained):
    """Words learned for each image before lists of faults and positions; neighbours of many shapes.

    The prompts name the faults of the category and where they are (paper, section 3.2); the words
    before them are learned, and moved by a small network on the image embedding. Patches are mapped
    to the text embeddings by linear layers and by sums of convolutions of six shapes (MMCI, section
    3.3). Boxes of a detector, if given, choose the position and weaken the map outside of them.

    Where the authors' code departs from the paper, this follows the code: the value-value taps of
    all blocks are one tensor, the taps of other blocks hold the next block's attention, and the
    image score is half the cosine to the anomalous prompts plus half the maximum of the map.

    Args:
        adapter: the learned tensors, by name or path (see `vlad.adapters`).
        boxes: whether the position of the surest box, or the centre without one, chooses among the
            prompts, and the map is weakened outside the boxes, or everywhere without one; otherwise
            all positions count and the map stays as it is.
    """

    bank = "filo"
    map_range = (0.0, 1.0)
    enlarged_logits = True
    rules: ClassVar = {"adapter": ADAPTER, "boxes": FLAG}

    def __init__(self, adapter: str | Adapter | None = None, boxes: bool = True):
        self.adapter = adapter
        self.boxes = boxes

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Raw patch tokens of the last block's v-v stream, and of the ordinary one.

        Raises:
            AdapterError: no adapter, or one that does not fit the backbone.
        """
        self.adapter_ = load_adapter(self.adapter, "filo", backbone)
        first = min(backbone.depth, 1 + max(1, round(backbone.depth / 4)))
        ordinary = FeatureSpec(
            layers=tuple(self.adapter_.params["layers"]), stream=Stream("next"), image=False
        )
        return FeatureSpec(
            layers=(backbone.depth,),
            stream=Stream("vv", first_block=first),
            further=(ordinary,),
            text=self.text_spec(),
            image_size=self.adapter_.params.get("image_size"),
            activation="gelu",
            pos_embed="bicubic",
        )

    def text_spec(self) -> TextSpec:
        """How to embed the prompts: after words computed for each image."""
        words = len(self.adapter_.tensors["context.normal"])
        return TextSpec(activation="gelu", context=self._contexts, words=words)

    def logits(self, features: Features, sides: torch.Tensor) -> Logits:
        """How anomalous B images and their patches are, given the vectors of both sides."""
        assert features.image is not None  # the spec asks for it
        patches = [anomalous_logit(x, sides, TEMPERATURE) for x in self._mapped(features)]
        image = anomalous_logit(self._adapted(features.image), sides, IMAGE_TEMPERATURE)
        return Logits(image, torch.stack(patches, dim=1))

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images; maps lie in [0, 1].

        Raises:
            HeadError: `text` is missing.
        """
        if text is None:
            raise HeadError("Head filo compares images with prompts: give it a category.")
        assert features.image is not None  # the spec asks for it
        given = features.boxes or ((),) * len(features.image)
        if self.boxes:
            places = [cell(boxes, features.size) for boxes in given]
            sides = torch.stack([_sides(text, i, place) for i, place in enumerate(places)])
        else:
            sides = side_vectors(text)
        logits = self.logits(features, sides)
        maps = self.layer_maps(logits.patches, features.grid, features.size).mean(dim=1)
        maps = blur_close(maps, SIGMA)
        image = F.normalize(self._adapted(features.image), dim=-1)
        cosine = SHORT * (image * sides[:, 1]).sum(dim=-1)
        scores = (cosine + maps.flatten(1).amax(dim=1)) / 2
        if self.boxes:
            inside = torch.stack([covered(boxes, features.size) for boxes in given])
            maps = torch.where(inside.to(maps.device, non_blocking=True), maps, OUTSIDE * maps)
        return Scores(scores, maps)

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """The faults and states that speak for each side of a region's worst patch.

        With `boxes` they are those at the position that these name.
        """
        assert text is not None  # `score` refuses an image without
        boxes = features.boxes[0] if features.boxes else ()
        place = cell(boxes, features.size) if self.boxes else None
        logits = self.logits(features, _sides(text, 0, place)).patches[0]
        vectors = torch.cat([x[0] for x in self._mapped(features)])
        used = torch.zeros_like(text.anomalous[0])
        rows = _at(place, len(used))
        used[rows] = text.anomalous[0, rows]
        return [*of_worst_patches(vectors, logits, regions, TextFeatures(text.normal[0], used))]

    def _mapped(self, features: Features) -> list[torch.Tensor]:
        """(B, h·w, D) patches in the space of text, of each linear layer and each sum."""
        (compared,) = features.patches.values()
        each = [compared, *features.further[0].patches.values()]
        mapped = [linear(x, self.adapter_.tensors, f"linear.{i}") for i, x in enumerate(each)]
        return mapped + self._neighbours(compared, features.grid)

    def _contexts(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Words (B, m, T) before the sentences of both sides, for B image embeddings."""
        # the adapter learns from the image alone, not by way of the words
        image, tensors = F.normalize(self._adapted(image), dim=-1).detach(), self.adapter_.tensors

        def words(side: str) -> torch.Tensor:
            moved = linear(image, tensors, f"meta.{side}.1").relu()
            moved = linear(moved, tensors, f"meta.{side}.2")
            return tensors[f"context.{side}"].to(image) + moved[:, None]

        return words("normal"), words("anomalous")

    def _adapted(self, image: torch.Tensor) -> torch.Tensor:
        first, second = (self.adapter_.tensors[f"adapter.{i}.weight"].to(image) for i in (0, 2))
        return F.silu(F.linear(F.linear(image, first).relu(), second)) + image

    def _neighbours(self, patches: torch.Tensor, grid: tuple[int, int]) -> list[torch.Tensor]:
        """(B, h·w, D) of each sum of convolutions, which is one with the sum of their kernels."""
        tensors = self.adapter_.tensors
        x = patches.mT.unflatten(2, grid)
        found = []
        for i in range(len(self.adapter_.params["layers"])):
            names = [f"convolutions.{name}.{i}" for name in MMCI]
            # one after the other: at the authors' size each has 150 MB
            kernel = reduce(torch.add, (_centred(tensors[f"{n}.weight"].to(x)) for n in names))
            bias = torch.stack([tensors[f"{name}.bias"].to(x) for name in names]).sum(dim=0)
            found.append(F.conv2d(x, kernel, bias, padding=REACH).flatten(2).mT)
        return found


def _centred(kernel: torch.Tensor) -> torch.Tensor:
    """A kernel (D, C, k, l) with zeros around it, (D, C, 7, 7)."""
    down, across = (REACH - side // 2 for side in kernel.shape[2:])
    return F.pad(kernel, (across, across, down, down))


def _sides(text: TextFeatures, image: int, place: int | None) -> torch.Tensor:
    """(2, D) vectors of one image: anomalous prompts of one position, or of all."""
    rows = text.anomalous[image, _at(place, text.anomalous.shape[1])]
    return side_vectors(TextFeatures(text.normal[image], rows))


def _at(place: int | None, count: int) -> slice:
    """Which of `count` anomalous prompts name a position."""
    # a bank of the user's own may have no positions
    known = place is not None and count % POSITIONS == 0
    return slice(place, None, POSITIONS) if known else slice(None)
