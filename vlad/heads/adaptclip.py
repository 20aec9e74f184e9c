"""AdaptCLIP (Gao et al., arXiv 2505.09926)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F

from vlad.adapters import load_adapter
from vlad.errors import HeadError
from vlad.heads.head import Trained
from vlad.heads.references import nearest_references, unit_rows
from vlad.heads.rules import ADAPTER
from vlad.heads.sentences import of_worst_patches
from vlad.maths.logits import Logits, anomalous_logit, plain_mean_vectors, side_vectors
from vlad.maths.maps import enlarge, gaussian_blur, harmonic_mean, upsample
from vlad.maths.neighbours import nearest_rows
from vlad.maths.networks import batch_norm, bottleneck, decode, perceptron, pooled
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

TEMPERATURE = 0.07
SIGMA = 4.0
TOP = 10  # patches of each channel whose mean is half of what is said of an image
CELLS = 4  # the decoder divides a patch into so many cells a side
FIRST = {12: 4}  # depth -> first block of the v-v stream, where the authors leave their quarter


class AdaptCLIP(Trained):
    """Three small adapters: of images, of prompts, and of what differs from normal images.

    The visual adapter changes image embedding and patch tokens, which are compared with fixed
    sentences; the unchanged ones are compared with learned words, the textual adapter. After `fit`,
    the prompt-query adapter reads each patch with its difference from the nearest reference patch;
    its probabilities join the mean, which a harmonic mean joins with the distances.

    Where the authors' code departs from the paper, this follows the code: patches come from a
    second stream with v-v attention, the image embedding skips ln_post, and words and images are
    learned in one joint step instead of alternately.

    Args:
        adapter: the three adapters, by name or path (see `vlad.adapters`).
    """

    bank = "adaptclip"
    normals = "optional"
    additive = True
    paired = True
    rules: ClassVar = {"adapter": ADAPTER}

    @property
    def map_range(self) -> tuple[float, float]:
        """A probability, or its harmonic mean with a distance of at most 2."""
        return (0.0, 4 / 3 if self.fitted else 1.0)

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Projected patch tokens of the v-v stream, which starts at about a quarter of the depth.

        Zero-shot, those of the last layer alone.

        Raises:
            AdapterError: no adapter, or one that does not fit the backbone.
        """
        self.adapter_ = load_adapter(self.adapter, "adaptclip", backbone)
        quarter = max(1, round(backbone.depth / 4))
        *earlier, last = self.adapter_.params["layers"]
        return FeatureSpec(
            layers=(*earlier, last) if self.training else (last,),
            normal_layers=() if self.training else tuple(earlier),
            # in training it counts in the statistics of the visual adapter
            cls=(last,) if self.training else (),
            patch_output="ln_post_proj",
            stream=Stream("vv", first_block=FIRST.get(backbone.depth, quarter)),
            image_ln_post=False,
            text=self.text_spec(),
            image_size=self.adapter_.params.get("image_size"),
            activation="quick_gelu",
            pos_embed="bilinear",
        )

    def text_spec(self) -> TextSpec:
        """The bank's sentences as they are, and the current learned words by themselves."""
        tensors = self.adapter_.tensors
        return TextSpec(
            activation="quick_gelu",
            context=(tensors["context.normal"], tensors["context.anomalous"]),
            phrases=((".",), (".",)),
        )

    def sides(self, text: TextFeatures) -> torch.Tensor:
        """(4, D): unit vectors of both sides of the fixed sentences, then of the learned words."""
        assert text.learned is not None  # the text spec asks for it
        return torch.cat([plain_mean_vectors(text), side_vectors(text.learned)])

    def logits(self, features: Features, sides: torch.Tensor) -> Logits:
        """How anomalous B images and their patches are by the visual and the textual adapter.

        Both come as (B, 2) and (B, 2, h·w).
        """
        assert features.image is not None  # the spec asks for it
        tensors, last = self._tensors(features.image), self.adapter_.params["layers"][-1]
        tokens = rows = features.patches[last]
        if self.training:
            rows = torch.cat([features.cls[last][:, None], tokens], dim=1)
        seen = bottleneck(rows.flatten(0, 1), tensors, "patches", self.training).view_as(rows)
        image = bottleneck(features.image, tensors, "image", self.training)
        fixed, learned = sides[..., :2, :], sides[..., 2:, :]

        def both(changed: torch.Tensor, unchanged: torch.Tensor) -> torch.Tensor:
            each = (changed, fixed), (unchanged, learned)
            return torch.stack([anomalous_logit(x, of, TEMPERATURE) for x, of in each], dim=1)

        return Logits(both(image, features.image), both(seen[:, -tokens.shape[1] :], tokens))

    def pair_logits(self, features: Features, sides: torch.Tensor, normals: Features) -> Logits:
        """Those of `logits`, and for each layer that of the prompt-query adapter.

        The latter has `CELLS`² logits for each patch, which come as so many blocks: (B, 2 + L) and
        (B, 2 + `CELLS`² · L, h·w).
        """
        by_words = self.logits(features, sides)
        images, patches = [by_words.image], [by_words.patches]
        for number, layer in enumerate(self.adapter_.params["layers"]):
            known = F.normalize(normals.patches[layer], dim=-1)
            unit = F.normalize(features.patches[layer], dim=-1)
            nearest = [nearest_rows(x, own)[1] for x, own in zip(unit, known, strict=True)]
            image, cells = self._compared(number, unit, torch.stack(nearest), features.grid)
            images.append(image[:, None])
            patches.append(F.pixel_unshuffle(cells[:, None], CELLS).flatten(2))
        return Logits(torch.cat(images, dim=1), torch.cat(patches, dim=1))

    def layer_maps(
        self, patches: torch.Tensor, grid: tuple[int, int], size: tuple[int, int]
    ) -> torch.Tensor:
        """Logits of patches -> (B, L, H, W) probabilities of each map; these are enlarged.

        Args:
            patches: from `logits` or `pair_logits`.
        """
        maps = [enlarge(patches[:, :2].sigmoid(), grid, size)]
        if patches.shape[1] > 2:
            cells = F.pixel_shuffle(patches[:, 2:].unflatten(2, grid), CELLS).sigmoid()
            maps.append(enlarge(cells.flatten(2), (cells.shape[2], cells.shape[3]), size))
        return torch.cat(maps, dim=1)

    def fit(self, features: Features) -> AdaptCLIP:
        """Remember the patches of normal images, at unit length."""
        self.memory_ = unit_rows(features)
        return self

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images: in [0, 1], with references in [0, 8/7].

        Raises:
            HeadError: `text` is missing.
        """
        if text is None:
            raise HeadError(
                "Head adaptclip compares images with its learned prompts: give it text."
            )
        logits = self.logits(features, self.sides(text))
        maps = self.layer_maps(logits.patches, features.grid, features.size)
        images = logits.image.sigmoid()
        if not self.fitted:
            full = gaussian_blur(maps.mean(dim=1), SIGMA)
            largest = full.flatten(1).amax(dim=1, keepdim=True)
            return Scores(torch.cat([images, largest], dim=1).mean(dim=1), full)
        image, compared, distance = self._against_normals(features)
        mean = torch.cat([maps, compared[:, None]], dim=1).mean(dim=1)
        full = gaussian_blur(harmonic_mean(torch.stack([mean, distance])), SIGMA)
        both = torch.cat([images, image[:, None]], dim=1).mean(dim=1), full.flatten(1).amax(dim=1)
        return Scores(harmonic_mean(torch.stack(both)), full)

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """The fixed sentences that speak for each side of a region's worst adapted patch.

        With references also the nearest patch of these.
        """
        assert text is not None  # `score` refuses an image without
        patches = features.patches[self.adapter_.params["layers"][-1]]
        logits = self.logits(features, self.sides(text)).patches[0, :1]
        seen = bottleneck(patches[0], self._tensors(patches), "patches", self.training)
        said = of_worst_patches(seen, logits, regions, text, unit=False)
        return nearest_references(features, self.memory_, logits[0], regions, said)

    def _against_normals(
        self, features: Features
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B,) and (B, H, W) probabilities, and (B, H, W) distances from what it remembers."""
        images, maps, distances = [], [], []
        for number, layer in enumerate(self.adapter_.params["layers"]):
            unit = F.normalize(features.patches[layer], dim=-1)
            distance, nearest = nearest_rows(unit, self.memory_[str(layer)])
            image, cells = self._compared(number, unit, nearest, features.grid)
            images.append(image.sigmoid())
            maps.append(upsample(cells.sigmoid(), features.size))
            distances.append(upsample(distance.unflatten(1, features.grid), features.size))
        mean_image, mean_map = torch.stack(images).mean(dim=0), torch.stack(maps).mean(dim=0)
        return mean_image, mean_map, harmonic_mean(torch.stack(distances))

    def _compared(
        self, number: int, unit: torch.Tensor, nearest: torch.Tensor, grid: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) and (B, 4h, 4w) logits by one layer, from unit patches and their nearest."""
        tensors = self._tensors(unit)
        x = (unit + (unit - nearest).abs()).transpose(1, 2).unflatten(2, grid)
        x = batch_norm(x, tensors, f"norms.{number}", self.training)
        classes = decode(x, tensors, "decoder", self.training)
        sides = perceptron(pooled(x, TOP), tensors, "perceptron", self.training)
        return sides[:, 1] - sides[:, 0], classes[:, 1] - classes[:, 0]

    def _tensors(self, like: torch.Tensor) -> dict[str, torch.Tensor]:
        """The adapter's tensors on the device of the features."""
        return {name: x.to(like.device) for name, x in self.adapter_.tensors.items()}
