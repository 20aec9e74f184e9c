"""AdaCLIP (Cao et al., ECCV 2024, arXiv 2407.15795)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F

from vlad.adapters import Adapter, load_adapter
from vlad.errors import HeadError
from vlad.heads import sorted_names
from vlad.heads.head import Trained
from vlad.heads.rules import ADAPTER, whole
from vlad.heads.sentences import of_worst_patches
from vlad.maths.logits import Logits, anomalous_logit, side_vectors
from vlad.maths.maps import gaussian_blur, upsample
from vlad.maths.networks import linear
from vlad.maths.precision import as_half
from vlad.types import BackboneInfo, Features, FeatureSpec, Reason, Scores, TextFeatures, TextSpec

TEMPERATURE = 0.01
SIGMA = 4.0


class AdaCLIP(Trained):
    """Learned tokens in the image and text encoders, some of them computed for each image.

    Prompt tokens enter the first blocks of both encoders: static ones plus dynamic ones, computed
    by linear layers from the image's own embedding (paper, section 3.2). Linear projections map the
    patches of several blocks to the text embedding space. Hybrid semantic fusion adds the mean of
    clusters of the most anomalous patches to the image embedding (section 3.3).

    Where the authors' code departs from the paper, this follows the code: text tokens enter before
    the second block, logits are averaged over blocks before the softmax, and the fusion clusters
    the tokens of all blocks and has weights 0.2 and 0.8. Their clustering is unseeded; ours is
    seeded.

    Args:
        adapter: the learned tensors, by name or path (see `vlad.adapters`).
        clusters: K of the fusion, over the 5·K most anomalous patches; 0 disables it.
        seed: seed of the clustering.
    """

    bank = "adaclip"
    map_range = (0.0, 1.0)
    enlarged_logits = True
    rules: ClassVar = {
        "adapter": ADAPTER,
        "clusters": whole(0, 1000),
        "seed": whole(0, 2**32 - 1),
    }

    def __init__(self, adapter: str | Adapter | None = None, clusters: int = 20, seed: int = 0):
        self.adapter = adapter
        self.clusters = clusters
        self.seed = seed

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """Raw patch tokens of the adapter's layers, from a pass with the prompt tokens.

        Raises:
            AdapterError: no adapter, or one that does not fit the backbone.
        """
        self.adapter_ = load_adapter(self.adapter, "adaclip", backbone)
        return FeatureSpec(
            layers=tuple(self.adapter_.params["layers"]),
            text=self.text_spec(),
            image_size=self.adapter_.params.get("image_size"),
            activation="gelu",
            pos_embed="bicubic",
            prompts=self._image_prompts,
        )

    def text_spec(self) -> TextSpec:
        """How to embed the prompts: with tokens computed for each image."""
        return TextSpec(activation="gelu", deep=self._text_prompts)

    def logits(self, features: Features, sides: torch.Tensor) -> Logits:
        """How anomalous B images and their patches are, given the vectors of both sides."""
        assert features.image is not None  # the spec asks for it
        tokens = self._tokens(features)
        logits = torch.stack([anomalous_logit(x, sides, TEMPERATURE) for x in tokens], dim=1)
        image = linear(features.image, self.adapter_.tensors, "image_projection")
        image = F.normalize(image, dim=-1)
        if self.clusters:
            mean = logits.mean(dim=1)
            regions = [
                fuse([x[i] for x in tokens], mean[i], self.clusters, self.seed)
                for i in range(len(mean))
            ]
            image = 0.8 * image + 0.2 * torch.stack(regions)
        return Logits(anomalous_logit(image, sides, TEMPERATURE), logits)

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, in [0, 1].

        Raises:
            HeadError: `text` is missing.
        """
        if text is None:
            raise HeadError("Head adaclip compares images with prompts: give it a category.")
        logits = self.logits(features, side_vectors(text))
        grid_map = logits.patches.mean(dim=1).unflatten(1, features.grid)
        full = upsample(grid_map, features.size, align_corners=True)
        return Scores(logits.image.sigmoid(), gaussian_blur(full.sigmoid(), SIGMA))

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """The sentences, as read for this image, that speak for each side of the worst patch.

        Logits are averaged over blocks, so what is compared is the mean of a patch's unit vectors.
        """
        assert text is not None  # `score` refuses an image without
        logits = self.logits(features, side_vectors(text)).patches[0]
        vectors = torch.stack([x[0] for x in self._tokens(features)]).mean(dim=0)
        return [*of_worst_patches(vectors, logits.mean(dim=0)[None], regions, text)]

    def _tokens(self, features: Features) -> list[torch.Tensor]:
        """(B, h·w, D) unit vectors of each block in the space of text."""
        return [
            F.normalize(linear(patches, self.adapter_.tensors, f"projections.{i}"), dim=-1)
            for i, patches in enumerate(features.patches.values())
        ]

    def _image_prompts(self, plain: torch.Tensor) -> dict[int, torch.Tensor]:
        """Tokens (B, k, C) of the image encoder, before its first blocks."""
        static = self._static("image")
        return {1 + i: self._mix(x, "image", plain) for i, x in enumerate(static)}

    def _text_prompts(self, plain: torch.Tensor) -> dict[int, torch.Tensor]:
        """Tokens (B, k, T) of the text encoder; none before the first block, which takes words."""
        static = self._static("text")
        return {1 + i: self._mix(x, "text", plain) for i, x in enumerate(static) if i}

    def _static(self, backbone: str) -> list[torch.Tensor]:
        tensors = self.adapter_.tensors
        return [tensors[name] for name in sorted_names(tensors, f"static.{backbone}.")]

    def _mix(self, static: torch.Tensor, backbone: str, plain: torch.Tensor) -> torch.Tensor:
        tensors = self.adapter_.tensors
        dynamic = [linear(plain, tensors, f"dynamic.{backbone}.{i}") for i in range(len(static))]
        # the authors round the sum to half precision
        return as_half(static.to(plain) + torch.stack(dynamic, dim=1))


def fuse(
    tokens: Sequence[torch.Tensor],
    logit: torch.Tensor,
    clusters: int,
    seed: int = 0,
    labels: torch.Tensor | None = None,
) -> torch.Tensor:
    """Hybrid semantic fusion of one image: the mean (D,) of its clusters, of unit length.

    Args:
        tokens: (h·w, D) unit vectors of each block.
        logit: (h·w,) how anomalous each patch is; the 5·`clusters` highest are clustered by their
            vectors of all blocks.
        labels: cluster of each of these patches, highest first, on the CPU; None computes them
            (k-means).
    """
    count = min(5 * clusters, len(logit))
    index = logit.topk(count).indices
    chosen = torch.stack([x[index] for x in tokens])
    if labels is None:
        labels = _k_means(chosen.transpose(0, 1).flatten(1), min(clusters, count), seed)
    labels = labels.long()
    own = F.one_hot(labels)[:, labels.unique()].float()
    weights = (own / own.sum(dim=0)).to(chosen.device, non_blocking=True)
    return F.normalize((chosen.mean(dim=0).T @ weights).mean(dim=1), dim=-1)


def _k_means(rows: torch.Tensor, clusters: int, seed: int) -> torch.Tensor:
    """(N, C) -> (N,) cluster of each row, on the CPU, where they are found."""
    from sklearn.cluster import KMeans

    rows = rows.detach().cpu()
    if not rows.isfinite().all():  # the score is NaN either way; the caller reports it
        return torch.zeros(len(rows), dtype=torch.long)
    found = KMeans(clusters, n_init="auto", random_state=seed).fit_predict(rows.numpy())
    return torch.from_numpy(found)
