"""How well scores and anomaly maps separate defects from normal.

`auroc`, `average_precision`, `f1_max`, `aupro` and `aupimo` are exact; `evaluate` gives all of a
data set but AUPIMO. `evaluate_batches` gives its pixel metrics, exact as well, of maps that lie in
files; `Streaming` takes the maps of any set batch by batch, once, and says how far its values may
be off. `concordance` and `kendall_tau` ask whether scores grow with the severity of defects.
`registered_metrics` gives the metrics of images that other packages bring.

Scores may be of any real dtype and any range, higher is more anomalous; only their order counts.
Labels and masks are 0 for normal and anything positive (1, True, 255) for anomalous.
"""

from vlad.metrics.batches import evaluate_batches
from vlad.metrics.exact import aupro, auroc, average_precision, evaluate, f1_max
from vlad.metrics.pimo import Pimo, aupimo
from vlad.metrics.ranks import concordance, kendall_tau
from vlad.metrics.registered import registered_metrics
from vlad.metrics.streaming import Streamed, Streaming

__all__ = [
    "Pimo",
    "Streamed",
    "Streaming",
    "aupimo",
    "aupro",
    "auroc",
    "average_precision",
    "concordance",
    "evaluate",
    "evaluate_batches",
    "f1_max",
    "kendall_tau",
    "registered_metrics",
]
