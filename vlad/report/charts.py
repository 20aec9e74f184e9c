"""The drawn parts of the report, as values for its template: histogram, heat scale, thumbnail."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from vlad.images.resize import fit_within
from vlad.report.heat import heat_table

_BINS = 32
_THUMBNAIL_SIDE = 320
# label -> the class that colours it in report.css, and its word
GROUPS: dict[int | str | None, tuple[str, str]] = {
    "held": ("held", "held-out normal"),
    0: ("normal", "normal"),
    1: ("defect", "defective"),
    None: ("plain", "unlabelled"),
}


def decimals(scores: Sequence[float]) -> int:
    """How many decimals show a thousandth of the spread of the scores."""
    finite = [score for score in scores if math.isfinite(score)]
    spread = max(finite) - min(finite) if finite else 0
    return min(9, max(0, 3 - math.floor(math.log10(spread)))) if spread > 0 else 4


def count_scores(
    scores: Sequence[float], labels: Sequence[int | str | None], threshold: float | None = None
) -> tuple[np.ndarray, dict[int | str | None, np.ndarray], list[float]]:
    """Counts of image scores per label -> ((33,) edges, label -> (32,) counts, round ticks).

    Scores that are not finite are left out; the edges run from the first tick to the last, with the
    threshold between them.
    """
    kept = [(s, label) for s, label in zip(scores, labels, strict=True) if math.isfinite(s)]
    values = [s for s, _ in kept] or [0.0, 1.0]
    if threshold is not None and math.isfinite(threshold):
        values.append(threshold)
    ticks = round_ticks(min(values), max(values))
    edges = np.linspace(ticks[0], ticks[-1], _BINS + 1)
    counts = {
        label: np.histogram([s for s, own in kept if own == label], edges)[0]
        for label in GROUPS
        if any(own == label for _, own in kept)
    }
    return edges, counts, ticks


def histogram(
    title: str,
    scores: Sequence[float],
    labels: Sequence[int | None],
    threshold: float | None = None,
    held_out: Sequence[float] = (),
) -> dict[str, Any]:
    """The stacked histogram of one head's image scores, in bars of width 1 and height 0 to 100.

    Args:
        held_out: scores of held-out normal images.
    """
    every, groups = [*scores, *held_out], [*labels, *["held"] * len(held_out)]
    edges, counts, ticks = count_scores(every, groups, threshold)
    highest = max(1, int(np.sum(list(counts.values()), axis=0).max())) if counts else 1
    digits = decimals(scores)
    bars = []
    for i in range(_BINS):
        parts, words, top = [], [], 0.0
        for label, count in ((label, int(c[i])) for label, c in counts.items() if c[i]):
            kind, word = GROUPS[label]
            height = 100 * count / highest
            top += height
            words.append(f"{count} {word}")
            parts.append((kind, f"{i + 0.06:.2f}", f"{100 - top:.3f}", f"{height:.3f}"))
        if parts:
            span = f"{edges[i]:.{digits}f} to {edges[i + 1]:.{digits}f}"
            bars.append((f"{span}: {', '.join(words)}", parts))
    finite = [score for score in scores if math.isfinite(score)]
    summary, cut = "no scores", None
    if finite:
        summary = f"median {np.median(finite):.{digits}f}, highest {max(finite):.{digits}f}"
    if threshold is not None and math.isfinite(threshold):
        summary += f", threshold {threshold:.{digits}f}"
        cut = f"{_BINS * (threshold - edges[0]) / (edges[-1] - edges[0]):.3f}"
    labelled = any(label is not None for label in counts)
    places = max(0, 1 - math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return {
        "title": title,
        "summary": summary,
        "legend": [GROUPS[label] for label in counts] if labelled else [],
        "highest": highest,
        "low": float(edges[0]),
        "high": float(edges[-1]),
        "width": _BINS,
        "bars": bars,
        "cut": cut,
        "ticks": [f"{tick:.{places}f}" for tick in ticks],
    }


def heat_scale(
    head: str, low: float, high: float, threshold: float | None = None
) -> dict[str, Any]:
    """The heat colours with the values at which they start and saturate, and the position of the
    pixel threshold between them, from 0 to 100."""
    colours, opacity = heat_table()
    places = decimals([low, high])
    place = None
    if threshold is not None and math.isfinite(threshold):
        place = 100 * min(1, max(0, (threshold - low) / (high - low)))
    return {
        "head": head,
        "low": f"{low:.{places}f}",
        "high": f"{high:.{places}f}",
        "cut": None if place is None else f"{place:.1f}",
        "threshold": None if place is None else f"{threshold:.{places}f}",
        "stops": [
            (f"{i / 255:.3f}", f"rgb({','.join(map(str, colours[i]))})", f"{opacity[i]:.3f}")
            for i in range(0, 256, 15)
        ],
    }


def thumbnail(image: Image.Image) -> dict[str, Any]:
    """A small copy of the image as a data URL, with its size."""
    small = image.convert("RGB")
    width, height = fit_within(small.size, _THUMBNAIL_SIDE)
    buffer = io.BytesIO()
    small = small.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    small.save(buffer, "JPEG", quality=82)
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"width": width, "height": height, "source": f"data:image/jpeg;base64,{data}"}


def round_ticks(low: float, high: float) -> list[float]:
    """Evenly spaced round numbers that enclose low..high."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # equal but for rounding: no steps between
        low, high = low - (abs(low) or 1) * 0.05, high + (abs(high) or 1) * 0.05
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(m for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    return [i * step for i in range(math.floor(low / step), math.ceil(high / step) + 1)]
