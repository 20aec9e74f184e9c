"""Why a region of an image is anomalous, as heads say it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class NearestPatch:
    """The reference patch that the most anomalous patch of a region is compared with.

    Attributes:
        image: which reference image, from 0 in the order of `fit`; of a head that compares an image
            with itself, None. None too if the head no longer knows.
        view: which view of that image, 0 for itself; None as `image`.
        cell: (row, column) of the patch there; None if the head no longer knows.
        distance: of the patch of the region, in the head's own unit.
        usual: the same of normal patches: the median distance of patches of reference images to the
            nearest of other reference images; of a head that compares an image with itself, that
            of all its patches. None with a single reference image, or if it is not known.
        patch: (row, column) of the patch of the region.
        note: why something is None, as a sentence, or "".
    """

    image: int | None
    view: int | None
    cell: tuple[int, int] | None
    distance: float
    usual: float | None
    patch: tuple[int, int]
    note: str = ""


@dataclass(frozen=True)
class NearestSentence:
    """A sentence of the prompt bank that speaks for one side.

    Attributes:
        side: which side.
        index: its place in `Prompts.normal` or `Prompts.anomalous`.
        similarity: cosine between it and the region.
        weight: its share of the side's pull, from 0 to 1.
    """

    side: Literal["normal", "anomalous"]
    index: int
    similarity: float
    weight: float


@dataclass(frozen=True)
class NearestState:
    """A state of the prompt bank that speaks for one side, over all its sentences.

    Attributes:
        side: which side.
        state: in words, with the category.
        weight: its share of the side's pull, from 0 to 1: the sum over its sentences.
        equal: the share it would have if all sentences of the side pulled alike.
        index: place in `Prompts.normal` or `Prompts.anomalous` of its sentence that pulls most.
        similarity: cosine between that sentence and the region.
    """

    side: Literal["normal", "anomalous"]
    state: str
    weight: float
    equal: float
    index: int
    similarity: float


@dataclass(frozen=True)
class FeatureShift:
    """A named feature that is off.

    Attributes:
        feature: its name.
        sigmas: by how many standard deviations of normal images; negative is below their mean.
        part: True if that is the region's part of how far the feature of the whole image is off.
    """

    feature: str
    sigmas: float
    part: bool = False


@dataclass(frozen=True)
class KnownKind:
    """The known kind of defect that a region is nearest to.

    Attributes:
        kind: its name.
        distance: to the nearest patch of that kind.
        normal: to the nearest normal patch.
    """

    kind: str
    distance: float
    normal: float


@dataclass(frozen=True)
class Residual:
    """What the subspace of normal patches cannot rebuild of a region.

    Attributes:
        share: of the squared distance of its most anomalous patch from the mean, from 0 to 1.
        components: dimensions of the subspace.
        times: the squared distance of that patch from the subspace, in means of normal patches.
    """

    share: float
    components: int
    times: float


Reason = NearestPatch | NearestSentence | NearestState | FeatureShift | KnownKind | Residual

NAMES: dict[type, str] = {
    NearestPatch: "nearest patch",
    NearestSentence: "nearest sentence",
    NearestState: "nearest state",
    FeatureShift: "feature shift",
    KnownKind: "known kind",
    Residual: "residual",
}


def reason_dict(reason: Reason) -> dict[str, Any]:
    """A reason as JSON holds it: its type in words as "reason", then its fields."""
    return {"reason": NAMES[type(reason)], **asdict(reason)}
