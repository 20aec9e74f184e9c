"""AnomalyCLIP (Zhou et al., ICLR 2024, arXiv 2310.18961)."""

from __future__ import annotations

from typing import ClassVar

import torch

from vlad.adapters import load_adapter
from vlad.errors import HeadError
from vlad.heads import sorted_names
from vlad.heads.head import Trained
from vlad.heads.rules import ADAPTER
from vlad.maths.logits import Logits, anomalous_logit, side_vectors
from vlad.maths.maps import upsample
from vlad.maths.precision import as_half
from vlad.types import BackboneInfo, Features, FeatureSpec, Scores, Stream, TextFeatures, TextSpec

TEMPERATURE = 0.07
SIGMA = 4.0


class AnomalyCLIP(Trained):
    """Learned prompts about any object, compared with patches from value-value attention.

    Learned tokens precede "object." and "damaged object." for every category (paper, equation 2),
    and further ones enter the text encoder block by block (section 3.3). Patches come from a second
    stream with v-v attention (DPAM, section 3.2).

    Where the authors' code departs from the paper, this follows the code: their published figures
    use only the last block, the image score is the softmax of the image embedding without a map
    term, and this embedding skips ln_post.

    Args:
        adapter: the learned tokens, by name or path (see `vlad.adapters`). The map is the sum over
            its `layers`.
    """

    bank = "anomalyclip"
    rules: ClassVar = {"adapter": ADAPTER}

    @property
    def map_range(self) -> tuple[float, float]:
        """The maps of all layers are added."""
        return (0.0, float(len(self.adapter_.params["layers"])))

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Projected patch tokens of the v-v stream, which starts at one quarter of the depth.

        Raises:
            AdapterError: no adapter, or one that does not fit the backbone.
        """
        self.adapter_ = load_adapter(self.adapter, "anomalyclip", backbone)
        return FeatureSpec(
            layers=tuple(self.adapter_.params["layers"]),
            patch_output="ln_post_proj",
            stream=Stream("vv", first_block=max(1, round(backbone.depth / 4))),
            image_ln_post=False,
            text=self.text_spec(),
            image_size=self.adapter_.params.get("image_size"),
            activation="quick_gelu",
            pos_embed="bilinear",
        )

    def text_spec(self) -> TextSpec:
        """How to embed the prompts with the current learned tokens."""
        tensors = self.adapter_.tensors
        deep = [tensors[name] for name in sorted_names(tensors, "deep.")]
        return TextSpec(
            activation="quick_gelu",
            context=(tensors["context.normal"], tensors["context.anomalous"]),
            # the first one enters before block 2; the authors round them to half precision
            deep={2 + i: as_half(x) for i, x in enumerate(deep)},
        )

    def logits(self, features: Features, sides: torch.Tensor) -> Logits:
        """How anomalous B images and their patches are, given the vectors of both sides."""
        assert features.image is not None  # the spec asks for it
        return Logits(
            anomalous_logit(features.image, sides, TEMPERATURE),
            torch.stack(
                [anomalous_logit(x, sides, TEMPERATURE) for x in features.patches.values()], dim=1
            ),
        )

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images; image scores lie in [0, 1].

        Raises:
            HeadError: `text` is missing.
        """
        if text is None:
            raise HeadError(
                "Head anomalyclip compares images with its learned prompts: give it text."
            )
        logits = self.logits(features, side_vectors(text))
        grid_map = logits.patches.sigmoid().sum(dim=1).unflatten(1, features.grid)
        full = upsample(grid_map, features.size, sigma=SIGMA)
        return Scores(logits.image.sigmoid(), full)
