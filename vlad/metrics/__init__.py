"""Metrics of how well scores and anomaly maps separate defects from normal.

`auroc`, `average_precision`, `f1_max`, `aupro` and `aupimo` are exact; `evaluate` computes all of
them except AUPIMO. `evaluate_batches` computes exact pixel metrics of maps in files; `Streaming`
takes the maps of any set in batches, once, and bounds its own error. `seg_f1` is the F1 of pixels
at a threshold fixed in advance. `concordance` and `kendall_tau` measure whether scores increase
with the severity of defects. `frame_metrics` and `rbdc_tbdc` measure video, by frames and by
regions. `registered_metrics` computes the image metrics of other packages.
`delong`, `mean_difference` and `holm` tell whether one head is better than another, `bootstrap` how
sure a metric is.

Scores may have any real dtype and range, higher is more anomalous; only their order matters. Labels
and masks are 0 for normal and anything positive (1, True, 255) for anomalous.
"""

from vlad.metrics.batches import evaluate_batches
from vlad.metrics.exact import aupro, auroc, average_precision, evaluate, f1_max
from vlad.metrics.fixed import SegF1, seg_f1
from vlad.metrics.frames import FrameMetrics, frame_metrics
from vlad.metrics.pimo import Pimo, aupimo
from vlad.metrics.ranks import concordance, kendall_tau
from vlad.metrics.registered import registered_metrics
from vlad.metrics.significance import (
    Difference,
    Interval,
    bootstrap,
    delong,
    holm,
    interval,
    mean_difference,
    resampled,
)
from vlad.metrics.streaming import Streamed, Streaming
from vlad.metrics.tracks import rbdc_tbdc

__all__ = [
    "Difference",
    "FrameMetrics",
    "Interval",
    "Pimo",
    "SegF1",
    "Streamed",
    "Streaming",
    "aupimo",
    "aupro",
    "auroc",
    "average_precision",
    "bootstrap",
    "concordance",
    "delong",
    "evaluate",
    "evaluate_batches",
    "f1_max",
    "frame_metrics",
    "holm",
    "interval",
    "kendall_tau",
    "mean_difference",
    "rbdc_tbdc",
    "registered_metrics",
    "resampled",
    "seg_f1",
]
