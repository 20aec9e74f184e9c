"""What goes over the wire."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

MapKind = Literal["png", "float32"]
FittedHead = Literal["memory", "patchcore", "winclip", "musc"]  # that need no adapter


class Problem(BaseModel):
    """Why a request was not answered."""

    detail: str = Field(description="One sentence: what is wrong and what to do.")


class Region(BaseModel):
    """Connected pixels above the map's threshold, in pixels of the upright image."""

    area: float = Field(description="Square pixels.")
    box: tuple[float, float, float, float] = Field(description="x, y, width, height.")
    outlines: list[list[tuple[float, float]]] = Field(description="Corners of its polygons.")
    score: float = Field(description="The largest value of the map in it.")


class AnomalyMap(BaseModel):
    """An anomaly map over the whole image."""

    kind: MapKind
    width: int
    height: int
    data: str = Field(
        description="Base64 of a grey 16-bit PNG that holds low…high as 0…65535, or of "
        "height × width little-endian float32 values, row by row."
    )
    low: float = Field(description="Least value that the head can give.")
    high: float = Field(description="Largest value that the head can give.")


class ImageReply(BaseModel):
    """What is said of one image; with an error there is nothing else."""

    name: str = Field(description="As it was uploaded, cut to 255 characters.")
    error: str | None = Field(None, description="Why it could not be scored.")
    width: int | None = Field(None, description="Pixels, upright.")
    height: int | None = None
    image_score: float | None = Field(None, description="Higher is more anomalous.")
    p_value: float | None = Field(
        None, description="Share of the reference images that score as high; calibrated only."
    )
    verdict: Literal["normal", "anomalous"] | None = Field(
        None, description="Where there is a threshold."
    )
    abstain: bool | None = Field(None, description="The decision is too uncertain to rely on.")
    severity: int | None = Field(None, description="0 for normal, higher is worse.")
    regions: list[Region] | None = Field(None, description="Where there is a map threshold.")
    map: AnomalyMap | None = Field(None, description="Where it was asked for.")


class Scored(BaseModel):
    """The images of a request in their order, and what they were scored with."""

    detector: str
    head: str
    category: str | None
    threshold: float | None = Field(description="Images that score above it are anomalous.")
    map_threshold: float | None = Field(description="Pixels above it make up regions.")
    images: list[ImageReply]


class Detector(BaseModel):
    """A detector that is served."""

    name: str
    head: str
    backbone: str
    category: str | None = Field(description="What its images show, unless a request says it.")
    reads: bool = Field(description="Whether its head compares images with words.")
    threshold: float | None
    map_threshold: float | None
    basis: list[str] = Field(
        description="Sentences: which image sets the threshold, and what was left out."
    )
    made: bool = Field(description="Made over HTTP, and gone when the service ends.")


class Bounds(BaseModel):
    """What a request may hold."""

    bytes: int
    pixels: int = Field(description="Of one image.")
    images: int
    normals: int = Field(description="Images to fit a detector on.")


class Detectors(BaseModel):
    """All detectors; the first is asked where a request names none."""

    detectors: list[Detector]
    limits: Bounds


class Health(BaseModel):
    """The service answers."""

    status: Literal["ok"] = "ok"
    version: str
