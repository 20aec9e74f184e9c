"""AnoVL, TFA and TTA (Deng et al., arXiv 2308.15939)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F

from vlad.errors import HeadError
from vlad.heads.head import Head
from vlad.heads.rules import FLAG, whole
from vlad.heads.sentences import of_worst_patches
from vlad.maths.logits import anomalous_logit, plain_mean_vectors
from vlad.maths.maps import upsample
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

STEPS = 5
LEARNING_RATE = 1e-3
NOISE = 0.055  # standard deviation, of tokens that are not of unit length


class AnoVL(Head):
    """Patches of a value-value stream and 22 views of the image are compared with prompts.

    The stream runs beside all blocks, beginning with the first one's input (paper, section 3.2).
    Probabilities are a softmax of the bare cosine, without a temperature, so that all scores lie
    near 0.5. With `tta`, a small adapter over the prompts' embeddings is fitted to every image
    before its map is made (section 3.3).

    The authors' code keeps the state of the adapter's optimiser from image to image and draws its
    start and noise from the global random numbers. Here every image begins without a state, from
    the same draw, so that its map depends on nothing but itself and `seed`.

    Args:
        tta: whether to fit the adapter to each image.
        views: whether the image score is the mean over 22 views, each but the first of which costs
            a pass; False takes the image alone.
        seed: seed of the adapter's start and noise.
    """

    bank = "anovl"
    map_range = (0.0, 1.0)
    rules: ClassVar = {"tta": FLAG, "views": FLAG, "seed": whole(0, 2**32 - 1)}

    def __init__(self, tta: bool = False, views: bool = True, seed: int = 0):
        self.tta = tta
        self.views = views
        self.seed = seed

    @property
    def approximate(self) -> bool:  # type: ignore[override]
        """True without the views, which the method needs."""
        return not self.views

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Projected patch tokens of the stream's last block, and image embeddings of all views."""
        return FeatureSpec(
            layers=(backbone.depth,),
            patch_output="ln_post_proj",
            stream=Stream("vv"),
            activation="gelu",
            resize="pil_bilinear",
            views=self.views,
            text=TextSpec(activation="gelu"),
        )

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, in [0, 1].

        Raises:
            HeadError: `text` is missing.
        """
        if text is None:
            raise HeadError("Head anovl compares images with prompts: give it a category.")
        assert features.image is not None  # the spec asks for it
        sides = plain_mean_vectors(text)
        images = features.image[:, None] if features.views is None else features.views
        tokens = self._tokens(features, text, sides)
        return Scores(
            probability(images, sides).mean(dim=1),
            smooth_map(probability(tokens, sides).unflatten(1, features.grid), features.size),
        )

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """The sentences that speak for each side of a region's worst patch."""
        assert text is not None  # `score` refuses an image without
        sides = plain_mean_vectors(text)
        tokens = self._tokens(features, text, sides)
        logits = anomalous_logit(tokens, sides, 1.0)
        return [*of_worst_patches(tokens[0], logits, regions, text, unit=False)]

    def _tokens(self, features: Features, text: TextFeatures, sides: torch.Tensor) -> torch.Tensor:
        """(B, P, D) tokens that are compared with the sides."""
        (tokens,) = features.patches.values()
        return self._adapted(tokens, text, sides) if self.tta else tokens

    def _adapted(
        self, tokens: torch.Tensor, text: TextFeatures, sides: torch.Tensor
    ) -> torch.Tensor:
        """(B, P, D) tokens after the adapter fitted to each image."""
        sentences = F.normalize(torch.cat([text.normal, text.anomalous]), dim=-1)
        generator = torch.Generator().manual_seed(self.seed)
        count, (batch, patches, width) = len(sentences), tokens.shape
        bound = 1 / math.sqrt(width)
        start = [
            (bound * (2 * torch.rand(shape, generator=generator) - 1)).to(tokens, non_blocking=True)
            for shape in ((count, width), (count,))
        ]
        noise = NOISE * torch.randn(STEPS, patches, width, generator=generator)
        weight, bias = (x.expand(batch, *x.shape).clone() for x in start)
        optimiser = torch.optim.AdamW([weight, bias], lr=LEARNING_RATE, fused=True)
        fit_adapter(
            tokens, weight, bias, sentences, sides, noise.to(tokens, non_blocking=True), optimiser
        )
        return adapt(tokens, weight, bias, sentences)


def probability(vectors: torch.Tensor, sides: torch.Tensor) -> torch.Tensor:
    """(B, N, D) vectors of any length -> (B, N) p(anomalous), without a temperature."""
    return anomalous_logit(vectors, sides, 1.0).sigmoid()


def smooth_map(grid_map: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(B, h, w) -> (B, H, W): the mean over 3×3 patches, repeated at the border, enlarged."""
    padded = F.pad(grid_map[:, None], (1, 1, 1, 1), mode="replicate")
    return upsample(F.avg_pool2d(padded, 3, stride=1)[:, 0], size, align_corners=True)


def adapt(
    tokens: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, sentences: torch.Tensor
) -> torch.Tensor:
    """Half of each token, and half of a mixture of sentences that a linear map of it chooses.

    Args:
        tokens: (B, P, D).
        weight, bias: (B, K, D) and (B, K), of each image.
        sentences: (K, D) unit vectors.
    """
    chosen = torch.baddbmm(bias[:, None], F.normalize(tokens, dim=-1), weight.transpose(1, 2))
    return 0.5 * tokens + 0.5 * (chosen.tanh() @ sentences)


def fit_adapter(
    tokens: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    sentences: torch.Tensor,
    sides: torch.Tensor,
    noise: torch.Tensor,
    optimiser: torch.optim.Optimizer,
) -> None:
    """Fit the adapter of each image in place, one step for each draw of noise.

    The loss is the entropy of the clean tokens plus ½ (−ln p(anomalous) of the noisy ones −
    ln p(normal) of the clean ones), each a mean over patches.

    Args:
        tokens, weight, bias, sentences: as in `adapt`.
        sides: (2, D) unit vectors.
        noise: (steps, P, D), added to the tokens of every image.
        optimiser: of `weight` and `bias`.
    """
    both = torch.cat([tokens, tokens], dim=1)  # clean, then noisy
    units = F.normalize(both, dim=-1)
    noisy = slice(tokens.shape[1], None)
    for draw in noise:
        both[:, noisy] = tokens + draw
        units[:, noisy] = F.normalize(both[:, noisy], dim=-1)
        weight.grad, bias.grad = gradients(both, units, weight, bias, sentences, sides)
        optimiser.step()


@torch.no_grad()
def gradients(
    both: torch.Tensor,
    units: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    sentences: torch.Tensor,
    sides: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of the loss of `fit_adapter`, summed over images, written out for speed.

    Args:
        both: (B, 2P, D) tokens, the clean ones before the noisy ones.
        units: (B, 2P, D) their unit vectors.

    Returns:
        (B, K, D) and (B, K), with respect to `weight` and `bias`.
    """
    axis = sides[1] - sides[0]
    chosen = torch.baddbmm(bias[:, None], units, weight.transpose(1, 2)).tanh_()
    mixed = both + chosen @ sentences  # twice what `adapt` gives, whose cosines are the same
    length = torch.linalg.vector_norm(mixed, dim=-1, keepdim=True).clamp_min(1e-12)
    logit = (mixed @ axis)[..., None] / length
    clean, noisy = logit.chunk(2, dim=1)
    p = clean.sigmoid()
    slope = torch.cat([p * (0.5 - (1 - p) * clean), -0.5 * (-noisy).sigmoid()], dim=1)
    back = slope / (length * clean.shape[1]) * (axis - mixed * (logit / length)) @ sentences.T
    back.addcmul_(back, chosen.square_(), value=-1)  # the slope of tanh is 1 - tanh²
    return back.transpose(1, 2) @ units, back.sum(dim=1)
