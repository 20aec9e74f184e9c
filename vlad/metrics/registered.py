"""Metrics of other packages, registered under the entry-point group "vlad.metrics"."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from vlad.errors import InputError
from vlad.system import plugins
from vlad.system.text import shown

GROUP = "vlad.metrics"


def registered_metrics(scores: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """ "image_" + name -> value of each metric that installed packages register.

    Such a metric is a function of labels (N,), 0 or 1, and scores (N,), higher is more anomalous,
    in this order, as in scikit-learn.

    Raises:
        InputError: a metric raises, or does not return a number.
        VladError: a package cannot be imported.
    """
    found = {}
    for name in plugins.names(GROUP):
        metric = plugins.load(GROUP, name, {})
        try:
            found[f"image_{name}"] = float(metric(np.asarray(labels, int), np.asarray(scores)))
        except Exception as error:  # it can raise anything
            why = shown(f"{type(error).__name__}: {error}")
            raise InputError(
                f"the metric {name} of another package failed ({why}); correct or remove it."
            ) from error
    return found
