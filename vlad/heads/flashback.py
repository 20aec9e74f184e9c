"""Flashback (Lee et al., arXiv 2505.15205), built from descriptions: its program is not public."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F

from vlad.errors import HeadError
from vlad.heads.head import Head
from vlad.heads.rules import number, one_of, whole
from vlad.types import (
    BackboneInfo,
    Features,
    FeatureSpec,
    NearestSentence,
    Reason,
    Scores,
    TextFeatures,
)

HALF = 0.5  # of the captions of each side that the softmax compares
TEMPERATURE = 0.03  # of the softmax


class Flashback(Head):
    """The captions nearest to an image, in a memory of normal and anomalous scenes, are its score.

    The memory is the prompt bank: each sentence describes a scene. The image score is the share of
    anomalous captions among the `top` with the highest cosine; the cosines of the anomalous side
    are scaled down first, since such captions are the more likely to be near to anything.

    With `score_by` "softmax" it is the probability of the anomalous side, from the mean cosine of
    the nearer half of each side: a score without steps.

    A caption is of the whole image, so the head marks no place: its map is 0 everywhere.

    Args:
        top: captions that are retrieved.
        scale: of the cosines of the anomalous side.
        score_by: "share" or "softmax".
    """

    bank = "scenes"
    map_range = (0.0, 1.0)
    rules: ClassVar = {
        "top": whole(1, 10_000),
        "scale": number(0.1, 2, "a number from 0.1 to 2"),
        "score_by": one_of("share", "softmax"),
    }

    def __init__(
        self, top: int = 10, scale: float = 0.95, score_by: Literal["share", "softmax"] = "share"
    ):
        self.top = top
        self.scale = scale
        self.score_by = score_by

    @property
    def places(self) -> bool:
        """False: captions are of whole images."""
        return False

    def spec(self, backbone: BackboneInfo) -> FeatureSpec:
        """The image embedding."""
        return FeatureSpec()

    def score(self, features: Features, text: TextFeatures | None = None) -> Scores:
        """Scores of B images, in [0, 1].

        Raises:
            HeadError: `text` is missing, or the memory has no more captions than `top`.
        """
        normal, anomalous = self._cosines(features, text)
        if self.score_by == "softmax":
            far, near = (_nearer_half(x).mean(dim=1) for x in (normal, anomalous))
            score = ((near - far) / TEMPERATURE).sigmoid()
        else:
            found = self._nearest(normal, anomalous)
            score = (found >= normal.shape[1]).to(normal).mean(dim=1)
            score = score + 0 * normal[:, 0]  # NaN stays NaN
        return Scores(score, (0 * score)[:, None, None].expand(-1, *features.size))

    def reasons(
        self, features: Features, text: TextFeatures | None, regions: torch.Tensor
    ) -> list[tuple[Reason, ...]]:
        """The captions that are nearest to the image, whatever the region, the nearest first.

        Similarities are not scaled. A caption weighs as much as each other of its side that the
        score counts.
        """
        normal, anomalous = self._cosines(features, text)
        (found,) = self._nearest(normal, anomalous).tolist()
        first = normal.shape[1]
        counted = {"normal": sum(i < first for i in found)}
        counted["anomalous"] = len(found) - counted["normal"]
        if self.score_by == "softmax":
            counted = {"normal": _half(normal), "anomalous": _half(anomalous)}
        said = tuple(
            NearestSentence("normal", i, normal[0, i].item(), 1 / counted["normal"])
            if i < first
            else NearestSentence(
                "anomalous",
                i - first,
                anomalous[0, i - first].item() / self.scale,
                1 / counted["anomalous"],
            )
            for i in found
        )
        return [said] * len(regions)

    def _cosines(
        self, features: Features, text: TextFeatures | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, N) cosines with normal captions, and (B, A) scaled ones with anomalous captions."""
        if text is None:
            raise HeadError("Head flashback compares images with captions: give it a category.")
        count = len(text.normal) + len(text.anomalous)
        if count <= self.top:
            raise HeadError(
                f"Head flashback retrieves {self.top} captions of a memory of {count}, so every "
                "image would score alike; set flashback.top lower, or choose a larger bank."
            )
        assert features.image is not None  # the spec asks for it
        x = F.normalize(features.image, dim=-1)
        normal, anomalous = (
            x @ F.normalize(side, dim=-1).T for side in (text.normal, text.anomalous)
        )
        return normal, self.scale * anomalous

    def _nearest(self, normal: torch.Tensor, anomalous: torch.Tensor) -> torch.Tensor:
        """(B, top) places in the memory, the normal captions first."""
        return torch.cat([normal, anomalous], dim=1).topk(self.top, dim=1).indices


def _half(cosines: torch.Tensor) -> int:
    return max(1, int(HALF * cosines.shape[1]))


def _nearer_half(cosines: torch.Tensor) -> torch.Tensor:
    """(B, N) -> (B, N // 2), the higher ones."""
    return cosines.topk(_half(cosines), dim=1).values
