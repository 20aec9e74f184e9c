"""Whether images of today still look and score like the good images of calibration.

    monitor = DriftMonitor(calibration)
    for each scored image: monitor.add(scores, seen)
    monitor.state.sentence

A window of images is compared with the good images that set the threshold: the image scores of
each head, brightness and sharpness by quantile bins (`bins`), the embeddings by a Fréchet distance
(`embeddings`). The p-value of each comparison holds for any distribution and takes into account
that the good images are few, so the false-alarm rate is as stated if images of today and those of
calibration are drawn alike.
"""

from vlad.calibration.drift.compare import Drift, Part, compare
from vlad.calibration.drift.looks import Looks, looks_of, with_looks
from vlad.calibration.drift.monitor import LEAST, RATE, WINDOW, DriftMonitor, why_not

__all__ = [
    "LEAST",
    "RATE",
    "WINDOW",
    "Drift",
    "DriftMonitor",
    "Looks",
    "Part",
    "compare",
    "looks_of",
    "why_not",
    "with_looks",
]
