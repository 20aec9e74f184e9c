"""Which images of a run to review first, from their scores and how they look."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vlad.calibration.informative import informative_order
from vlad.results.folder import RunFolder
from vlad.results.seen import read_seen

NEAREST = 5000  # images nearest to the threshold, among which those to review are drawn


def informative_paths(
    folder: RunFolder, scores: Mapping[str, float], threshold: float, count: int
) -> list[str]:
    """Up to `count` paths, most informative first (`vlad.calibration.informative`).

    Images without an embedding, as from Ray, or a finite score are left out.

    Args:
        scores: path -> image score, of the images to choose from.
        threshold: the score above which an image is anomalous.

    Raises:
        InputError: a count out of range.
    """
    finite = (path for path in scores if np.isfinite(scores[path]))
    paths = sorted(finite, key=lambda path: abs(scores[path] - threshold))[:NEAREST]
    seen = read_seen(folder, only=set(paths))
    paths = [path for path in paths if path in seen and seen[path].embedding.size]
    if not paths:
        return []
    embeddings = np.stack([seen[path].embedding for path in paths])
    values = np.array([scores[path] for path in paths])
    order = informative_order(embeddings, values, threshold, count)
    return [paths[place] for place in order]
