"""AnomalyCLIP (Zhou et al., ICLR 2024, arXiv 2310.18961)."""

from __future__ import annotations

import torch

from vlad.adapters import load_adapter
from vlad.errors import HeadError
from vlad.maps import upsample
from vlad.similarity import anomalous_logit, side_vectors
from vlad.types import Features, FeatureSpec, Scores, Stream, TextFeatures, TextSpec, TowerInfo

TEMPERATURE = 0.07
SIGMA = 4.0


class AnomalyCLIP:
    """Learned words about any object, against patches that attend by their values alone.

    Learned tokens stand in front of "object." and "damaged object." whatever the category (paper,
    equation 2), and further ones enter the text tower block by block (section 3.3). Patches come
    from a second stream with v-v attention (DPAM, section 3.2).

    Where the authors' code departs from the paper, the code is followed: their published figures
    use the last block alone, the image score is the softmax of the image embedding without a term
    of the map, and that embedding skips ln_post.

    Args:
        adapter: the learned tokens, by name or path (see `vlad.adapters`). Its `layers` say which
            blocks the map is the sum of.
    """

    bank = "anomalyclip"
    normals = "unused"

    def __init__(self, adapter: str | None = None):
        self.adapter = adapter

    @property
    def map_range(self) -> tuple[float, float]:
        """The maps of all layers are added."""
        return (0.0, float(len(self.adapter_.params["layers"])))

    def spec(self, tower: TowerInfo) -> FeatureSpec:
        """Projected patch tokens of the v-v stream, which starts at a quarter of the depth.

        Raises:
            AdapterError: no adapter, or one that does not fit the tower.
        """
        self.adapter_ = load_adapter(self.adapter, "anomalyclip", tower)
        tensors = self.adapter_.tensors
        deep = {n: x for n, x in tensors.items() if n.startswith("deep.")}
        return FeatureSpec(
            layers=tuple(self.adapter_.params["layers"]),
            patch_output="ln_post_proj",
            stream=Stream("vv", first_block=max(1, round(tower.depth / 4))),
            image_ln_post=False,
            text=TextSpec(
                activation="quick_gelu",
                context=(tensors["context.normal"], tensors["context.anomalous"]),
                # the first of them stands before block 2; the authors round them to half precision
                deep={2 + i: deep[f"deep.{i}"].half().float() for i in range(len(deep))},
            ),
            image_size=self.adapter_.params.get("image_size"),
            activation="quick_gelu",
            pos_embed="bilinear",
        )

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B pictures; image scores lie in [0, 1].

        Raises:
            HeadError: no text embeddings were given.
        """
        if text is None:
            raise HeadError("anomalyclip compares pictures with its learned words: give it text.")
        sides = side_vectors(text)
        total = torch.stack(
            [
                anomalous_logit(patches, sides, TEMPERATURE).sigmoid()
                for patches in features.patches.values()
            ]
        ).sum(dim=0)
        return Scores(
            anomalous_logit(features.image, sides, TEMPERATURE).sigmoid(),
            upsample(total.unflatten(1, features.grid), features.size, sigma=SIGMA),
        )
