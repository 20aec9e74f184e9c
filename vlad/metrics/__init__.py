"""How well scores and anomaly maps separate defects from normal.

`auroc`, `average_precision`, `f1_max`, `aupro` and `aupimo` are exact; `evaluate` gives all of a
data set but AUPIMO. `Streaming` takes the maps of a set too large for memory batch by batch and
says how far its values may be off.

Scores may be of any real dtype and any range, higher is more anomalous; only their order counts.
Labels and masks are 0 for normal and anything positive (1, True, 255) for anomalous.
"""

from vlad.metrics.exact import aupro, auroc, average_precision, evaluate, f1_max
from vlad.metrics.pimo import Pimo, aupimo
from vlad.metrics.streaming import Streamed, Streaming

__all__ = [
    "Pimo",
    "Streamed",
    "Streaming",
    "aupimo",
    "aupro",
    "auroc",
    "average_precision",
    "evaluate",
    "f1_max",
]
