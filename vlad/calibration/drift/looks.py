"""How the good images of a calibration look, as its file keeps it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vlad.calibration.drift.embeddings import WIDTH, projected
from vlad.errors import InputError
from vlad.types import Seen

if TYPE_CHECKING:  # which holds the looks of its images
    from vlad.calibration.calibration import Calibration

MOST = 300  # images whose embeddings are kept, evenly spaced: more hardly sharpen the comparison


@dataclass(frozen=True, eq=False)
class Looks:
    """How n good images look.

    Attributes:
        brightness: (n,), as in `vlad.types.Seen`.
        sharpness: (n,).
        embeddings: (m, K) of m ≤ 300 of them, from `vlad.calibration.drift.embeddings.projected`.
        width: D, numbers of an embedding before that.
    """

    brightness: np.ndarray
    sharpness: np.ndarray
    embeddings: np.ndarray
    width: int

    def content(self) -> dict[str, object]:
        """What a JSON file holds; `read_looks` reads it."""
        numbers = base64.b64encode(self.embeddings.astype("<f4").tobytes()).decode()
        return {
            "brightness": self.brightness.tolist(),
            "sharpness": self.sharpness.tolist(),
            "width": self.width,
            "embeddings": numbers,
        }

    def check(self, seen: Seen) -> None:
        """Raise an InputError if an image has embeddings of another kind."""
        if len(seen.embedding) != self.width:
            raise InputError(
                f"The calibration has embeddings of {self.width} numbers and these images have "
                f"{len(seen.embedding)}, so drift cannot be told; calibrate again."
            )


def looks_of(given: Sequence[Seen | None]) -> Looks | None:
    """How these images look; None without any, or if it is unknown of one."""
    seen = [one for one in given if one]
    if not seen or len(seen) < len(given):
        return None
    places = np.unique(np.linspace(0, len(seen) - 1, min(MOST, len(seen))).round().astype(int))
    embeddings = np.stack([seen[i].embedding for i in places])
    return Looks(
        np.array([one.brightness for one in seen]),
        np.array([one.sharpness for one in seen]),
        projected(embeddings),
        embeddings.shape[1],
    )


def with_looks(calibration: Calibration, seen: Mapping[str, Seen]) -> Calibration:
    """A calibration that keeps how its good images look, if that is known of each of them.

    Args:
        seen: name of an image -> how it looks.
    """
    if not calibration.names or not seen.keys() >= set(calibration.names):
        return calibration
    return replace(calibration, drift=looks_of([seen[name] for name in calibration.names]))


def read_looks(content: Mapping[str, Any]) -> Looks:
    """What `Looks.content` gave.

    Raises:
        ValueError, KeyError, TypeError: it is damaged.
    """
    brightness = np.asarray(content["brightness"], float)
    sharpness = np.asarray(content["sharpness"], float)
    width = content["width"]
    if type(width) is not int or width < 0:
        raise ValueError("the width of its embeddings is no number")
    numbers = np.frombuffer(base64.b64decode(content["embeddings"], validate=True), "<f4")
    rows = min(MOST, len(brightness))
    embeddings = numbers.reshape(rows, min(width, WIDTH)).astype(np.float32)
    if brightness.ndim != 1 or not rows or brightness.shape != sharpness.shape:
        raise ValueError("it does not say how each of its images looks")
    if not all(np.isfinite(x).all() for x in (brightness, sharpness, embeddings)):
        raise ValueError("how its images look has NaN or infinity")
    return Looks(brightness, sharpness, embeddings, width)
