"""The metrics against common implementations: speed-up, and error of the streamed ones.

    python benchmarks/metrics.py [--maps 100] [--size 256] [--rounds 5]

AUPRO against loops over 200 evenly spaced thresholds and the regions of every image: one finds the
regions at every threshold, like the routine that most repositories share, the other once. Pixel
AUROC against scikit-learn's `roc_auc_score`. Every round times each of them, interleaved in one
process; it prints medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict

import numpy as np
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from vlad.metrics import Streaming, aupimo, aupro, auroc, average_precision, f1_max

LIMIT = 0.3
THRESHOLDS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", type=int, default=100)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    maps, masks = drawn(options.maps, options.size)
    contenders = {
        "shared loop": lambda: loop_aupro(maps, masks, once=False),
        "lean loop": lambda: loop_aupro(maps, masks, once=True),
        "aupro": lambda: aupro(maps, masks),
        "scikit-learn": lambda: roc_auc_score(masks.ravel(), maps.ravel()),
        "auroc": lambda: auroc(maps, masks),
        "aupimo": lambda: aupimo(maps, masks),
        "streaming": lambda: streamed(maps, masks),
    }
    seconds, values = defaultdict(list), {}
    for _ in range(options.rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            values[name] = run()
            seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(spent) for name, spent in seconds.items()}

    print(f"{options.maps} maps of {options.size}², {masks.mean():.1%} anomalous, medians")
    for name, spent in median.items():
        print(f"{name:13}{spent:10.3f} s  ({min(seconds[name]):.3f} to {max(seconds[name]):.3f})")
    for loop in ("shared loop", "lean loop"):
        print(f"AUPRO: {median[loop] / median['aupro']:.0f} times faster than the {loop}")
    print(f"pixel AUROC: {median['scikit-learn'] / median['auroc']:.1f} times faster than sklearn")
    print(f"AUPRO {values['aupro']:.6f}, by the loops {values['lean loop']:.6f}")
    print(f"pixel AUROC {values['auroc']:.9f}, by scikit-learn {values['scikit-learn']:.9f}")
    expected = {
        "pixel_auroc": values["auroc"],
        "pixel_ap": average_precision(maps, masks),
        "pixel_f1_max": f1_max(maps, masks)[0],
        "aupro": values["aupro"],
    }
    result = values["streaming"]
    print(f"streaming engine: {result.engine}")
    for name, value in expected.items():
        off = abs(result.values[name] - value)
        print(f"  {name:13} off by {off:.1e}, bound {result.bounds[name]:.1e}")


def drawn(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Smooth float32 maps that see the blobs in two thirds of the masks."""
    rng = np.random.default_rng(0)
    masks = np.zeros((count, size, size), bool)
    y, x = np.mgrid[:size, :size]
    for i in range(count):
        for _ in range(rng.integers(1, 4) if i % 3 else 0):
            cy, cx, radius = *rng.uniform(0, size, 2), rng.uniform(size / 64, size / 12)
            masks[i] |= (y - cy) ** 2 + (x - cx) ** 2 < radius**2
    maps = np.empty(masks.shape, np.float32)
    for i, mask in enumerate(masks):
        noise = ndimage.gaussian_filter(rng.normal(size=mask.shape), 3)
        maps[i] = noise + 0.15 * ndimage.gaussian_filter(mask.astype(float), 3)
    return maps, masks


def loop_aupro(maps: np.ndarray, masks: np.ndarray, *, once: bool) -> float:
    """Without a sort: at each threshold, the overlap with each region of each image.

    Points below the limit are joined by straight lines, without the shared routine's stretching of
    rates.
    """
    regions = found_regions(masks)
    rates, overlaps = [], []
    for threshold in np.linspace(maps.max(), maps.min(), THRESHOLDS):
        if not once:
            regions = found_regions(masks)
        flagged = maps >= threshold
        rates.append((flagged & ~masks).sum() / (~masks).sum())
        overlaps.append(np.mean([flagged[region].mean() for region in regions]))
    rates, overlaps = np.array([0, *rates]), np.array([0, *overlaps])
    inside = rates <= LIMIT
    x = np.append(rates[inside], LIMIT)
    y = np.append(overlaps[inside], np.interp(LIMIT, rates, overlaps))
    return float(np.diff(x) @ (y[1:] + y[:-1]) / 2 / LIMIT)


def found_regions(masks: np.ndarray) -> list[tuple]:
    """Image, rows and columns of every region."""
    regions = []
    for i, mask in enumerate(masks):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        regions += [(i, *np.nonzero(labels == k)) for k in range(1, count + 1)]
    return regions


def streamed(maps: np.ndarray, masks: np.ndarray):
    stream = Streaming()
    for i in range(0, len(maps), 8):
        stream.update(maps[i : i + 8], masks[i : i + 8])
    return stream.compute()


if __name__ == "__main__":
    main()
