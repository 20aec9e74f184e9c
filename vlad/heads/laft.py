"""LAFT (Yun et al., ICLR 2025, arXiv 2503.01184)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch

from vlad.errors import HeadError
from vlad.heads.head import Head
from vlad.heads.references import nearest_references
from vlad.heads.rules import one_of, optional, whole
from vlad.maths.guidance import guidance_basis, guided
from vlad.maths.maps import upsample
from vlad.maths.neighbours import mean_nearest_cosine
from vlad.types import BackboneInfo, Features, FeatureSpec, Reason, Scores, TextFeatures

SIGMA = 4.0  # of the Gaussian that smooths the map, in pixels


@dataclass(eq=False, repr=False)
class LAFT(Head):
    """Image embedding compared with normal images along the directions that prompts name.

    The differences between the embeddings of normal and anomalous sentences span a subspace; the
    image embeddings are projected on it ("guide"), or what lies in it is removed ("ignore"). The
    image score is the mean cosine distance to the nearest normal images.

    The authors' program has no map. That of this head is vlad's own: patch tokens of the last
    block, projected into the space of text, compared with those of the normal images by the same
    rule.

    Args:
        use: "guide" keeps what the sentences differ in, "ignore" removes it.
        components: directions at most; None is as many as the sentences span.
        neighbours: nearest normal images (or patches) that distances are averaged over; fewer if
            there are fewer.
    """

    bank = "winclip"
    normals = "needed"
    additive = True
    map_range = (0.0, 2.0)
    rules: ClassVar = {
        "use": one_of("guide", "ignore"),
        "components": optional(whole(1, 10_000)),
        "neighbours": whole(1, 1_000_000),
    }

    use: Literal["guide", "ignore"] = "guide"
    components: int | None = None
    neighbours: int = 30

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """The image embedding, and the patch tokens of the last block in the space of text."""
        return FeatureSpec(layers=(backbone.depth,), patch_output="ln_post_proj")

    def fit(self, features: Features) -> LAFT:
        """Remember the image embeddings and patch tokens of normal images."""
        (patches,) = features.patches.values()
        assert features.image is not None  # the spec asks for it
        self.memory_ = {"image": features.image, "patch": patches.flatten(0, 1)}
        return self

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, in [0, 2].

        Raises:
            HeadError: the head is not fitted, `text` is missing, or its sentences leave nothing.
        """
        memory = self.needed_memory()
        if text is None:
            raise HeadError("Head laft projects on what its prompts differ in: give it a category.")
        (patches,) = features.patches.values()
        assert features.image is not None  # the spec asks for it
        basis = self._basis(text)
        image_score, distance = (
            mean_nearest_cosine(
                guided(x, basis, self.use == "ignore"),
                guided(memory[name], basis, self.use == "ignore"),
                self.neighbours,
            )
            for name, x in (("image", features.image), ("patch", patches))
        )
        grid_map = distance.unflatten(1, features.grid)
        return Scores(image_score, upsample(grid_map, features.size, sigma=SIGMA))

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """The normal patch nearest to a region's worst patch in the directions of the prompts.

        The head's distance is the mean to the `neighbours` nearest.
        """
        assert text is not None  # `score` refuses an image without
        basis, ignore = self._basis(text), self.use == "ignore"
        ((layer, patches),) = features.patches.items()
        x, known = (guided(y, basis, ignore) for y in (patches, self.needed_memory()["patch"]))
        far = mean_nearest_cosine(x, known, self.neighbours)[0]
        seen, empty = replace(features, patches={layer: x}), [()] * len(regions)
        return nearest_references(seen, {str(layer): known}, far, regions, empty)

    def _basis(self, text: TextFeatures) -> torch.Tensor:
        """The directions of a category's sentences, found once."""
        source, basis = getattr(self, "directions_", (None, None))
        if source is not text or basis is None:
            basis = guidance_basis([text.normal, text.anomalous], self.components)
            if not len(basis) or (self.use == "ignore" and len(basis) == basis.shape[1]):
                raise HeadError(
                    f"The sentences of head laft span {len(basis)} of {basis.shape[1]} dimensions, "
                    "so nothing is left to compare; give another bank, or set laft.components."
                )
            self.directions_ = text, basis
        return basis
