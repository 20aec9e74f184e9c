"""The JSON of the service."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

Verdict = Literal["normal", "anomalous"]
MapKind = Literal["png", "float32"]
LabelWord = Literal["good", "defective"]
# those without an adapter
FittedHead = Literal["memory", "patchcore", "winclip", "musc", "statistics"]


class Problem(BaseModel):
    """Why a request failed."""

    detail: str = Field(description="One sentence: what is wrong and what to do.")


class Region(BaseModel):
    """Connected pixels above the map threshold, in pixels of the upright image."""

    area: float = Field(description="Square pixels.")
    box: tuple[float, float, float, float] = Field(description="x, y, width, height.")
    outlines: list[list[tuple[float, float]]] = Field(description="Corners of each polygon.")
    score: float = Field(description="The highest map value in the region.")


class AnomalyMap(BaseModel):
    """An anomaly map over the whole image."""

    kind: MapKind
    width: int
    height: int
    data: str = Field(
        description="Base64 of a grey 16-bit PNG that holds low…high as 0…65535, or of "
        "height × width little-endian float32 values, row by row."
    )
    low: float = Field(
        description="Start of the scale of the head's PNG maps; no value is below it."
    )
    high: float = Field(description="End of that scale; a PNG holds values above it as this one.")


class ImageReply(BaseModel):
    """The result for one image; with an error, all else but its name is null."""

    name: str = Field(
        description="File name of the upload, cut to 255 characters; image and its place if empty."
    )
    error: str | None = Field(default=None, description="Why the image could not be scored.")
    width: int | None = Field(default=None, description="Pixels of the upright image.")
    height: int | None = None
    image_score: float | None = Field(default=None, description="Higher is more anomalous.")
    p_value: float | None = Field(
        default=None,
        description="Share of held-out normal images that score as high; calibrated only.",
    )
    verdict: Verdict | None = Field(default=None, description="Set if there is a threshold.")
    abstain: bool | None = Field(
        default=None, description="The decision is too uncertain to rely on."
    )
    severity: int | None = Field(default=None, description="0 for normal, higher is worse.")
    kind: str | None = Field(
        default=None,
        description="Nearest known kind of defect, empty for none; of detectors that know some.",
    )
    regions: list[Region] | None = Field(
        default=None, description="Set if there is a map threshold."
    )
    map: AnomalyMap | None = Field(default=None, description="Set if requested.")


class Scored(BaseModel):
    """The results of a request, in the order of its images."""

    detector: str
    head: str
    category: str | None
    threshold: float | None = Field(description="Images that score above it are anomalous.")
    map_threshold: float | None = Field(description="Pixels above it form regions.")
    images: list[ImageReply]


class ExplainedRegion(BaseModel):
    """A region of the anomaly map, and why it is anomalous."""

    place: str = Field(description="In words, as in top left.")
    box: tuple[float, float, float, float] = Field(description="x, y, width, height; pixels.")
    area: float = Field(description="Share of the image.")
    score: float = Field(description="The highest map value in the region.")
    share: float | None = Field(
        description="Of the image score; null if that is no sum over patches."
    )
    without: float | None = Field(
        description="Image score if its patches were normal; null if the head cannot tell."
    )
    reasons: list[dict[str, Any]] = Field(
        description="What the head says, the strongest first; `reason` names the kind of each."
    )
    texts: list[str] = Field(description="The same in plain words.")
    reference: str = Field(description="File name of the nearest reference image, or empty.")
    reference_note: str = Field(description="Why that image is not shown, or empty.")
    outlines: list[list[tuple[float, float]]] = Field(description="Corners of each polygon.")
    crop: str | None = Field(
        description="Base64 of a JPEG: its most anomalous patch with what is around it."
    )
    reference_crop: str | None = Field(
        description="Base64 of a JPEG: the nearest reference patch in the same way."
    )


class ExplainedImage(BaseModel):
    """Why one image scores as it does; with an error, all else but its name is null."""

    name: str = Field(description="As in the reply of POST /v1/score.")
    error: str | None = Field(default=None, description="Why the image could not be explained.")
    size: tuple[int, int] | None = Field(default=None, description="Width, height; upright.")
    image_score: float | None = Field(default=None, description="Higher is more anomalous.")
    level: float | None = Field(default=None, description="Regions are above it.")
    sums: bool | None = Field(
        default=None, description="The shares of the regions and the rest sum to 1."
    )
    rest: float | None = Field(
        default=None, description="Share of the score outside the regions; null without shares."
    )
    note: str | None = Field(default=None, description="What holds for all regions.")
    regions: list[ExplainedRegion] | None = Field(default=None, description="Largest first.")


class Explained(BaseModel):
    """The reasons of a request, in the order of its images."""

    detector: str
    head: str
    category: str | None
    images: list[ExplainedImage]


class Outline(BaseModel):
    """A region of interest, to draw on images."""

    path: str = Field(description="SVG path around it and around its holes.")
    box: str = Field(description="The viewBox of that path, which covers the whole image.")


class Drift(BaseModel):
    """How the last images compare with the good ones of calibration."""

    images: int = Field(description="In the last comparison; 0 before the first.")
    moved: list[str] = Field(
        description="What differs: the head for its scores, brightness, sharpness, embedding."
    )
    sentence: str = Field(description="What moved, by how much, and what to check.")


class Detector(BaseModel):
    """A served detector."""

    name: str
    head: str
    backbone: str
    category: str | None = Field(description="What its images show, if a request does not say.")
    reads: bool = Field(description="Whether its head reads text.")
    threshold: float | None
    map_threshold: float | None
    basis: list[str] = Field(
        description="Sentences: which image sets the threshold, and what was left out."
    )
    drift: Drift | None = Field(description="Null without a threshold from good images.")
    made: bool = Field(description="Made over HTTP; gone when the service stops.")
    roi: Outline | None = Field(description="Only defects inside count; null is all of an image.")


class Bounds(BaseModel):
    """Limits of a request."""

    bytes: int
    pixels: int = Field(description="Per image.")
    images: int
    normals: int = Field(description="Images to fit a detector on.")


class Detectors(BaseModel):
    """All detectors; a request that names none goes to the first."""

    detectors: list[Detector]
    limits: Bounds
    labels: bool = Field(description="Whether POST /v1/labels keeps labels.")


class Label(BaseModel):
    """What one person said about one image; a row of labels.csv."""

    path: str = Field(description="Of the image that was kept, beside labels.csv.")
    label: LabelWord
    kind: str = Field(description="Kind of defect, or empty.")
    digest: str = Field(description="First 16 hexadecimal digits of the file's SHA-256.")
    by: str = Field(description="Name of the person, or empty.")
    time: datetime


class Ready(BaseModel):
    """Every detector is ready, and the service takes requests."""

    status: Literal["ready"] = "ready"


class Health(BaseModel):
    """The service is up."""

    status: Literal["ok"] = "ok"
    version: str
