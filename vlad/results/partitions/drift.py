"""Whether images that Ray scored still score like the good images of their calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from vlad.calibration import Calibration
from vlad.calibration.drift import LEAST, RATE, Drift, compare
from vlad.results.drift import FILE, MOST, drift_bytes
from vlad.results.partitions.bucket import Bucket
from vlad.results.partitions.files import read
from vlad.results.partitions.folder import Folder

PARTITIONS = 64  # that images are taken from, evenly spaced: so much is read, however long the run


def write_drift(
    where: Folder | Bucket, names: Sequence[str], scored: int, calibration: Calibration
) -> Drift | None:
    """Compare the scores in some partitions with a calibration, and write drift.json.

    Brightness, sharpness and embeddings are not compared, since Ray keeps none.

    Args:
        names: of the partitions.
        scored: number of images with scores in all of them.

    Returns:
        What moved; None if the threshold comes from no good images, or no image has scores.

    Raises:
        OutputError: a partition cannot be read back, or drift.json cannot be written.
    """
    if calibration.source not in ("normals", "labels") or not scored:
        return None
    heads = list(calibration.reference)
    places = np.linspace(0, len(names) - 1, min(PARTITIONS, len(names))).astype(int)
    tables = read(where, [names[i] for i in places], calibration.reference.__contains__)
    table = pa.concat_tables(tables)
    values = np.stack([table[head].to_numpy() for head in heads])
    values = values[:, ~np.isnan(values).any(axis=0)]
    good, count = len(calibration.reference[heads[0]]), values.shape[1]
    if min(count, good) < LEAST:
        drift = Drift(0, good, RATE)
    else:
        values = values[:, np.linspace(0, count - 1, min(MOST, count)).astype(int)]
        scores = dict(zip(heads, values, strict=True))
        drift = compare(calibration, scores, [], RATE)
    drift = replace(drift, whole=scored)
    where.put(FILE, drift_bytes(drift))
    return drift
