"""Whether numbers of a window are distributed like those of a reference: quantile bins.

The bins lie between order statistics of the reference; the outermost ones are what lies outside all
of it, which tells a change of few images best where the reference is small. If both are drawn alike, the share of each
bin in the population is distributed as Dirichlet(gaps between order statistics), whatever the
population (Wilks 1941), and the counts of the window are multinomial. So the p-value is exact for
any n, and few reference images make it cautious by themselves.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

MOST_BINS = 10
GAPS = 5  # between reference values, at least, in each bin but the outermost
DRAWS = 20_000  # windows that the null distribution is made of
SMOOTH = 0.5  # images added to each bin, on average, as many as expected


def quantile_bins(reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The edges of K bins between values of the reference, and the gaps in each.

    Args:
        reference: (n,) values, n ≥ 1.

    Returns:
        (K − 1,) edges in rising order, and (K,) gaps, n + 1 in all.
    """
    last = len(reference)
    inner = max(1, min(MOST_BINS - 2, (last - 1) // GAPS))
    between = np.round(np.linspace(1, last, inner + 1)).astype(int)
    ends = np.unique([0, *between, last + 1])
    return np.sort(reference)[ends[1:-1] - 1], np.diff(ends)


def index(counts: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """(...) population stability index of windows with (..., K) counts, smoothed.

    Σ (p − e) ln(p / e) over the bins, p the smoothed share of the window and e = gaps / Σ gaps.
    """
    expected = gaps / gaps.sum()
    added = SMOOTH * len(gaps)
    images = counts.sum(axis=-1, keepdims=True)
    shares = (counts + added * expected) / (images + added)
    return ((shares - expected) * np.log(shares / expected)).sum(axis=-1)


def bins_p_value(reference: np.ndarray, window: np.ndarray) -> float:
    """The probability that a window drawn like the reference differs from it as much.

    Args:
        reference: (n,) values, n ≥ 1.
        window: (w,) values, w ≥ 1.
    """
    edges, gaps = quantile_bins(reference)
    places = np.searchsorted(edges, window, side="left")
    # a value on an edge, as of the same image, is in either bin by chance
    equal = window == edges[np.minimum(places, len(edges) - 1)]
    places += equal & (np.random.RandomState(len(window)).random_sample(len(window)) < 0.5)
    found = index(np.bincount(places, minlength=len(gaps)), gaps)
    null = _null(tuple(gaps.tolist()), len(window))
    return (1 + len(null) - int(np.searchsorted(null, found - 1e-12))) / (1 + len(null))


@lru_cache(maxsize=64)
def _null(gaps: tuple[int, ...], images: int) -> np.ndarray:
    """(DRAWS,) the index of windows drawn like the reference, in rising order."""
    random = np.random.default_rng(0)
    counts = random.multinomial(images, random.dirichlet(gaps, DRAWS))
    return np.sort(index(counts, np.asarray(gaps)))
