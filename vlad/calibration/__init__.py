"""What image scores mean: p-values, thresholds, abstention, severity and fused heads.

A calibration keeps the scores that heads gave to reference images: normal ones that they had not
seen (`from_normals`), labelled ones (`from_labels`), or the very images to be judged
(`from_unlabelled`). Raw scores, p-values and verdicts are kept apart.

    calibration = from_normals({"memory": held_out_scores}, false_alarms=0.05)
    verdicts = calibration.decide({"memory": scores})["memory"]
    verdicts.p_value, verdicts.anomalous
"""

from vlad.calibration.calibration import FUSED, Calibration
from vlad.calibration.file import load_calibration, save_calibration
from vlad.calibration.sources import (
    FALSE_ALARMS,
    from_labels,
    from_normals,
    from_unlabelled,
)

__all__ = [
    "FALSE_ALARMS",
    "FUSED",
    "Calibration",
    "from_labels",
    "from_normals",
    "from_unlabelled",
    "load_calibration",
    "save_calibration",
]
