"""WinCLIP and WinCLIP+ (Jeong et al., CVPR 2023, arXiv 2303.14814)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from vlad.backbones.windows import window_patches
from vlad.errors import HeadError
from vlad.heads.head import Head
from vlad.heads.references import nearest_references
from vlad.heads.rules import FLAG, list_of, number, one_of, whole
from vlad.heads.sentences import sentence_reasons
from vlad.maths.maps import harmonic_mean, upsample
from vlad.maths.neighbours import nearest_cosine
from vlad.maths.parts import worst_cells
from vlad.types import BackboneInfo, Features, FeatureSpec, Reason, Scores, TextFeatures


@dataclass(eq=False, repr=False)
class WinCLIP(Head):
    """Prompts compared with the image and its windows; references also compared with its windows.

    Zero-shot, the image score is p(anomalous) of the CLS embedding and the map is the harmonic mean
    of this and the probabilities of the windows around each patch (paper, section 4). After `fit`,
    the distance to the nearest reference window makes up half of both (section 4.3).

    Args:
        windows: sides of the windows, in patches.
        temperature: of the softmax over the two classes.
        patch_output: applied to the patch tokens kept as references. The paper does not specify it;
            anomalib uses "ln_post", Accurate-WinCLIP "raw".
        resize: "pil" as in CLIP's training and Accurate-WinCLIP; "float" as in anomalib.
        approximate: whether each window is the mean of its patches' projected tokens from the
            image's pass instead of a pass of its own. Faster, but not the method of the paper;
            references are then projected tokens, whatever `patch_output` is.
    """

    bank = "winclip"
    normals = "optional"
    additive = True
    map_range = (0.0, 1.0)
    rules: ClassVar = {
        "windows": list_of(whole(1, 100), "a list of sides in patches"),
        "temperature": number(1e-6, 100, "a number above 0, up to 100"),
        "patch_output": one_of("raw", "ln_post"),
        "resize": one_of("pil", "float"),
        "approximate": FLAG,
    }

    windows: tuple[int, ...] = (2, 3)
    temperature: float = 0.07
    patch_output: Literal["raw", "ln_post"] = "ln_post"
    resize: Literal["pil", "float"] = "pil"
    approximate: bool = False

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """CLS, the windows and, with normal images, the patch tokens of the last block."""
        last = (backbone.depth,)
        always = self.approximate or self.fitted
        return FeatureSpec(
            layers=last if always else (),
            normal_layers=() if always else last,
            patch_output="ln_post_proj" if self.approximate else self.patch_output,
            windows=() if self.approximate else tuple(self.windows),
            resize=self.resize,
        )

    def fit(self, features: Features) -> WinCLIP:
        """Remember the patches and windows of normal images."""
        scales = _scales(self._windowed(features))
        self.memory_ = {k: v.flatten(0, 1) for k, v in scales.items()}
        return self

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, in [0, 1].

        Raises:
            HeadError: `text` is missing.
        """
        if text is None:
            raise HeadError("Head winclip compares images with prompts: give it a category.")
        grid, image, features = features.grid, features.image, self._windowed(features)
        assert image is not None  # the spec asks for it
        sides = _sides(text)
        image_score = anomalous_probability(image, sides, self.temperature)
        maps = [image_score[:, None, None].expand(-1, *grid)]
        for side, embeddings in features.windows.items():
            probability = anomalous_probability(embeddings, sides, self.temperature)
            maps.append(spread(probability, grid, side))
        grid_map = harmonic_mean(torch.stack(maps))

        if self.fitted:
            few_shot = reference_map(features, self.memory_)
            grid_map = (grid_map + few_shot) / 2
            image_score = (image_score + few_shot.flatten(1).amax(dim=1)) / 2
        return Scores(image_score, upsample(grid_map, features.size))

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """The sentences that speak for each side of the worst window that touches a region.

        With references also the nearest patch of these.
        """
        assert text is not None  # `score` refuses an image without
        features = self._windowed(features)
        grid, windows = features.grid, features.windows
        vectors = torch.cat([x[0] for x in windows.values()])
        probability = anomalous_probability(vectors, _sides(text), self.temperature)
        touched = [regions[:, window_patches(grid, side, regions.device)] for side in windows]
        touching = torch.cat([x.any(dim=2) for x in touched], dim=1)
        said = sentence_reasons(vectors[worst_cells(probability, touching)], text, unit=False)
        if not self.fitted:
            return [*said]
        far = reference_map(features, self.memory_).flatten()
        known = dict.fromkeys(map(str, features.patches), self.memory_["patch"])
        return nearest_references(features, known, far, regions, said)

    def _windowed(self, features: Features) -> Features:
        """The features with their windows; approximate windows are computed here."""
        if not self.approximate:
            return features
        (patches,) = features.patches.values()
        places = {k: window_patches(features.grid, k, patches.device) for k in self.windows}
        return replace(features, windows={k: patches[:, x].mean(2) for k, x in places.items()})


def _sides(text: TextFeatures) -> torch.Tensor:
    """(2, D) of both sides: means of embeddings that are not normalised first."""
    return torch.stack([text.normal.mean(dim=0), text.anomalous.mean(dim=0)])


def anomalous_probability(
    embeddings: torch.Tensor, sides: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Two-way softmax of cosine / temperature (equation 1).

    Args:
        embeddings: (..., D).
        sides: (2, D), normal then anomalous.

    Returns:
        (...), the probability of the anomalous side.
    """
    cosine = F.normalize(embeddings, dim=-1) @ F.normalize(sides, dim=-1).T
    return (cosine / temperature).softmax(dim=-1)[..., 1]


def spread(scores: torch.Tensor, grid: tuple[int, int], side: int) -> torch.Tensor:
    """Window scores (B, n) -> (B, h, w): harmonic mean over the windows that cover each patch."""
    patches = window_patches(grid, side, scores.device)
    index = patches.flatten().expand(len(scores), -1)
    inverse = (1 / scores).repeat_interleave(side * side, dim=1)
    total = scores.new_zeros(len(scores), grid[0] * grid[1]).scatter_add_(1, index, inverse)
    count = torch.zeros_like(total).scatter_add_(1, index, torch.ones_like(inverse))
    return (count / total).unflatten(1, grid)


def reference_map(features: Features, memory: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """(B, h, w): mean over patches and windows of ½(1 − cos) to the nearest reference (eq. 5)."""
    maps = []
    for name, vectors in _scales(features).items():
        distance = nearest_cosine(vectors, memory[name]) / 2
        if name == "patch":
            maps.append(distance.unflatten(1, features.grid))
        else:
            maps.append(spread(distance, features.grid, int(name.removeprefix("window"))))
    return torch.stack(maps).mean(dim=0)


def _scales(features: Features) -> dict[str, torch.Tensor]:
    """The vectors to remember of references: patches (B, h·w, C) and windows (B, n, D)."""
    (patches,) = features.patches.values()
    return {"patch": patches} | {f"window{k}": v for k, v in features.windows.items()}
