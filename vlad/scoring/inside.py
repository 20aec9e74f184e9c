"""What is left of scores and maps in a region of interest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vlad.errors import HeadError
from vlad.heads import Head, protocol
from vlad.images.interest import RegionOfInterest

PROTOCOL = "maximum of the map in a region of interest"


@dataclass(frozen=True)
class Inside:
    """Scores and maps of an image, inside a region of interest.

    No head can score a part of an image as it scores the whole, so with a region the image score
    of every head is vlad's own: the maximum of its map inside. One pixel is enough, as for most
    heads on whole images, and image and map are judged by the same values.

    Attributes:
        region: None leaves everything as it is.
        heads: name -> head; outside the region, its map is at the start of its `map_range`.

    Raises:
        HeadError: a head that names kinds of defects or marks no place, with a region.
    """

    region: RegionOfInterest | None = None
    heads: Mapping[str, Head] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, head in self.heads.items():
            if self.region and type(head).known is not Head.known:
                raise HeadError(
                    f"Head {name} names the kind of the most anomalous patch of whole images, "
                    "which may be outside the region of interest; use the head memory, or leave "
                    "`roi` out."
                )

            if self.region and not getattr(head, "places", True):
                raise HeadError(
                    f"Head {name} marks no place in its maps, so nothing is left of it in a region "
                    "of interest; set vlm.windows to 2 or more, or leave `roi` out."
                )

    def protocol(self, name: str) -> str:
        """What `vlad.heads.protocol` says of a head, and whether its scores are of a region."""
        own = protocol(self.heads[name])
        return f"{own}, {PROTOCOL}" if self.region else own

    def __call__(
        self, scores: dict[str, float], maps: dict[str, np.ndarray]
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """The image score and the map of each head; what is not finite inside stays so."""
        if self.region is None:
            return scores, maps
        cut = {}
        for name, values in maps.items():
            inside = self.region.at(values.shape)
            cut[name] = np.where(inside, values, np.float32(self.heads[name].map_range[0]))
            scores = {**scores, name: float(values[inside].max())}
        return scores, cut
