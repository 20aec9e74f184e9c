"""From image scores to p-values, thresholds, abstention, severity and fused heads.

A calibration stores the scores of heads on calibration images: normal ones that no head was fit on
(`from_normals`), labelled ones (`from_labels`), or the images to be judged themselves
(`from_unlabelled`). Raw scores, p-values and verdicts are kept apart.

    calibration = from_normals({"memory": held_out_scores}, false_alarms=0.05)
    verdicts = calibration.decide({"memory": scores})["memory"]
    verdicts.p_value, verdicts.anomalous
"""

from vlad.calibration.calibration import FUSED, Calibration
from vlad.calibration.file import load_calibration, save_calibration
from vlad.calibration.sources import FALSE_ALARMS, from_labels, from_normals, from_unlabelled

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
