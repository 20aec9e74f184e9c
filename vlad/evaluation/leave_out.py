"""Scores of normal images by heads not fitted on them, and of others by the same heads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vlad.evaluation.viewer import Shown, Viewer

FOLDS = 10  # at most; up to as many images each is left out alone


@dataclass(frozen=True)
class LeftOut:
    """Image scores by one head.

    Attributes:
        normal: (n,) of each normal image, by the head fitted on those of the other folds.
        drawn: (m,) of drawn defects, by the head that was not fitted on the image drawn upon.
        defects: (k,) of defects, means over the heads of all folds, which saw as many normal images
            as those that scored the normal ones.
        parts: (p,) of the images to score, by the head fitted on all normal images.
        seconds: for an image: a pass of its own, and its score.
    """

    normal: np.ndarray
    drawn: np.ndarray
    defects: np.ndarray
    parts: np.ndarray
    seconds: float


def leave_out(
    viewer: Viewer,
    name: str,
    normals: Sequence[Shown],
    drawn: Sequence[Sequence[Shown]],
    defects: Sequence[Shown],
    parts: Sequence[Shown],
    progress: Callable[[], None] = lambda: None,
) -> LeftOut:
    """Fit a head without one fold of the normal images after the other, and score.

    The backbone is not run again. Images of a fold are as far apart in the list as they can be.

    Args:
        normals: at least two.
        drawn: of each normal image, one or more copies of it with a drawn defect.
        defects: any number.
        parts: at least one.
        progress: called after each fold.

    Raises:
        HeadError: the head cannot learn from so few images, or from these.
    """
    folds = np.arange(len(normals)) % min(len(normals), FOLDS)
    normal = np.empty(len(normals))
    on_drawn: list[np.ndarray] = []
    on_defects = np.zeros(len(defects))
    for fold in range(folds.max() + 1):
        out = np.flatnonzero(folds == fold).tolist()
        viewer.fit(name, [one for one, of in zip(normals, folds, strict=True) if of != fold])
        normal[out] = viewer.score(name, [normals[i] for i in out])
        on_drawn.append(viewer.score(name, [copy for i in out for copy in drawn[i]]))
        if defects:
            on_defects += viewer.score(name, defects) / (folds.max() + 1)
        progress()
    viewer.fit(name, normals)
    start = time.perf_counter()
    on_parts = viewer.score(name, parts)
    seconds = viewer.seconds[name] + (time.perf_counter() - start) / len(parts)
    return LeftOut(normal, np.concatenate(on_drawn), on_defects, on_parts, seconds)
