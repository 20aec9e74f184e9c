"""What is said about one image: its regions, and why each is anomalous."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vlad.types.reasons import Reason, reason_dict

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from vlad.vlm.words import Words

DIGITS = 6  # of numbers in JSON, which no machine then changes


@dataclass(frozen=True, eq=False)
class ExplainedRegion:
    """One region of the anomaly map.

    Attributes:
        place: in words, as in "top left".
        box: (x, y, width, height) in pixels of the image.
        area: share of the image.
        score: the highest map value in it.
        share: of the image score; None if that is no sum over patches.
        without: image score if its patches were normal; None if the head cannot tell.
        reasons: of the head, the strongest first.
        texts: the same in plain words, one for each reason.
        reference: name of the reference image that its first nearest patch is of, or "".
        outlines: corners ((x, y), ...) of the polygons around it, in pixels of the image.
        crop: its most anomalous patch with what is around it; None for a head that names no patch.
        reference_crop: the same part of the reference image, around the nearest patch; None if
            there is none, or it cannot be shown.
        reference_note: why it cannot be shown, as a sentence, or "".
    """

    place: str
    box: tuple[float, float, float, float]
    area: float
    score: float
    share: float | None = None
    without: float | None = None
    reasons: tuple[Reason, ...] = ()
    texts: tuple[str, ...] = ()
    reference: str = ""
    outlines: Sequence[Sequence[tuple[float, float]]] = ()
    crop: Image.Image | None = field(default=None, repr=False)
    reference_crop: Image.Image | None = field(default=None, repr=False)
    reference_note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Itself as JSON holds it, without crops."""
        return {
            "place": self.place,
            "box": list(self.box),
            "area": self.area,
            "score": self.score,
            "share": self.share,
            "without": self.without,
            "reasons": [reason_dict(reason) for reason in self.reasons],
            "texts": list(self.texts),
            "reference": self.reference,
            "reference_note": self.reference_note,
            "outlines": [[list(corner) for corner in outline] for outline in self.outlines],
        }


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why an image scores as it does.

    Attributes:
        name: of the image.
        head: name of the head.
        image_score: as the head gives it.
        regions: of the anomaly map, largest first.
        sums: whether the shares of regions and `rest` sum to 1.
        note: what holds for all regions: the level they are above, and why shares are missing.
        level: map value that regions are above.
        rest: share of the image score that lies outside the regions; None without shares.
        size: (width, height) of the image.
        image: the image itself, for `draw`.
        anomaly_map: (H, W).
        words: what a vision-language model says; nothing above depends on it.
    """

    name: str
    head: str
    image_score: float
    regions: tuple[ExplainedRegion, ...]
    sums: bool
    note: str
    level: float
    rest: float | None
    size: tuple[int, int]
    image: Image.Image = field(repr=False)
    anomaly_map: np.ndarray = field(repr=False)
    words: Words | None = None

    def as_dict(self) -> dict[str, Any]:
        """Itself as JSON holds it, without images and map."""
        found = {
            "image": self.name,
            "head": self.head,
            "image_score": self.image_score,
            "size": list(self.size),
            "level": self.level,
            "sums": self.sums,
            "rest": self.rest,
            "note": self.note,
            "regions": [region.as_dict() for region in self.regions],
        }
        if self.words is not None:
            found["words"] = self.words.as_dict()
        return _rounded(found)

    def to_json(self) -> str:
        """`as_dict` as one line of JSON; numbers with six digits."""
        return json.dumps(self.as_dict(), ensure_ascii=False)

    def text(self) -> str:
        """All of it in plain words: a line for the image, for each region and for each reason."""
        from vlad.reasons.words import described

        return described(self)

    def draw(self) -> Image.Image:
        """The image, the map with outlined regions, and crops beside those of reference images."""
        from vlad.reasons.draw import drawn

        return drawn(self)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value
