"""Images to score, and what is found out about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch is slow to import, and commands read this before they need it
    import numpy as np
    import torch


@dataclass(frozen=True)
class Box:
    """A region that a detector found in an image.

    Attributes:
        edges: left, top, right and bottom, as fractions of the image's sides, from 0 to 1.
        score: how sure the detector is, from 0 to 1.
        phrase: what it found, in words.
    """

    edges: tuple[float, float, float, float]
    score: float
    phrase: str


@dataclass(frozen=True)
class Sample:
    """One image to score.

    Attributes:
        path: the image file.
        id: unique in its list and safe as a relative file name without suffix ("good/000");
            outputs of this image are named after it.
        category: the name put into the prompts, or None to use the command's.
        label: 1 anomalous, 0 normal, None unknown.
        defect: the kind of defect ("good" for normal images), or None.
        mask: file of the ground-truth mask (non-zero = defect), a folder of such files whose
            union it is, or None.
        group: the object that it shows, shared by all views of that object, or None.
        severity: how bad the defect is, a whole number, 0 for normal; None unknown.
        boxes: what a detector found in it.
    """

    path: Path
    id: str
    category: str | None = None
    label: int | None = None
    defect: str | None = None
    mask: Path | None = None
    group: str | None = None
    severity: int | None = None
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Scores:
    """A head's scores of B images; higher is more anomalous, never rescaled per image.

    Attributes:
        image_score: (B,).
        anomaly_map: (B, H, W) at the size of the backbone's input.
        kind: (B,) place of the nearest known kind of defect in the head's `known`, -1 for none;
            None from a head that knows no kinds.
        errors: why an image has no score, which is then NaN, "" for those that have one; () if all
            have.
    """

    image_score: torch.Tensor | np.ndarray
    anomaly_map: torch.Tensor | np.ndarray
    kind: torch.Tensor | np.ndarray | None = None
    errors: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.image_score)

    def numpy(self) -> Scores:
        """The same scores as numpy arrays."""

        def array(x):
            return x.cpu().numpy() if hasattr(x, "cpu") else x

        maps, kind = array(self.anomaly_map), array(self.kind)
        return Scores(array(self.image_score), maps, kind, self.errors)


@dataclass(frozen=True, eq=False)
class Seen:
    """How an image looks as a whole, to notice that images change; of tiles, the mean over them.

    Attributes:
        brightness: mean grey, (R + G + B) / 3 of the stored values, from 0 to 1.
        sharpness: natural logarithm of the variance of the Laplacian of the grey values, divided by
            the square of their mean, so that it does not follow the brightness.
        embedding: (D,) float32 of length 1, from the features that the heads read; (0,) if they
            read none.
    """

    brightness: float
    sharpness: float
    embedding: np.ndarray


@dataclass(frozen=True)
class Verdicts:
    """Decisions on B images, apart from the scores they come from.

    Attributes:
        image_score: (B,) as the head gave it.
        p_value: (B,) share of the calibration's normal images that score as high, in (0, 1].
        anomalous: (B,) bool.
        abstain: (B,) bool, whether the decision is too uncertain to rely on.
        severity: (B,) whole numbers, 0 for normal, higher is worse.
    """

    image_score: np.ndarray
    p_value: np.ndarray
    anomalous: np.ndarray
    abstain: np.ndarray
    severity: np.ndarray

    def __len__(self) -> int:
        return len(self.image_score)
