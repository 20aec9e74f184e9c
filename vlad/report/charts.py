"""The drawn parts of the report, as HTML with inline SVG: histograms, heat legend, thumbnails."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from vlad.images.resize import fit_within
from vlad.report.heat import heat_table
from vlad.system.text import printable

_BINS = 32
_THUMBNAIL_SIDE = 320
# label -> the class that colours it in report.html, and its word
GROUPS = {0: ("normal", "normal"), 1: ("defect", "defective"), None: ("plain", "unlabelled")}


def html_text(value: object) -> str:
    """Any value as text that is safe inside an element and inside a quoted attribute."""
    return escape(printable(str(value)), quote=True)


def decimals(scores: Sequence[float]) -> int:
    """How many decimals show a thousandth of the spread of the scores."""
    finite = [score for score in scores if math.isfinite(score)]
    spread = max(finite) - min(finite) if finite else 0
    return min(9, max(0, 3 - math.floor(math.log10(spread)))) if spread > 0 else 4


def count_scores(
    scores: Sequence[float], labels: Sequence[int | None], threshold: float | None = None
) -> tuple[np.ndarray, dict[int | None, np.ndarray], list[float]]:
    """Counts of image scores per label -> ((33,) edges, label -> (32,) counts, round ticks).

    Scores that are not finite are left out; the edges run from the first tick to the last, with the
    threshold between them.
    """
    kept = [(s, label) for s, label in zip(scores, labels, strict=True) if math.isfinite(s)]
    values = [s for s, _ in kept] or [0.0, 1.0]
    if threshold is not None and math.isfinite(threshold):
        values.append(threshold)
    ticks = _ticks(min(values), max(values))
    edges = np.linspace(ticks[0], ticks[-1], _BINS + 1)
    counts = {
        label: np.histogram([s for s, own in kept if own == label], edges)[0]
        for label in GROUPS
        if any(own == label for _, own in kept)
    }
    return edges, counts, ticks


def histogram(
    head: str,
    scores: Sequence[float],
    labels: Sequence[int | None],
    threshold: float | None = None,
) -> str:
    """A panel with the stacked histogram of one head's image scores, and a line at a threshold."""
    edges, counts, ticks = count_scores(scores, labels, threshold)
    highest = max(1, int(np.sum(list(counts.values()), axis=0).max())) if counts else 1
    digits = decimals(scores)
    bars = []
    for i in range(_BINS):
        rects, words, top = [], [], 0.0
        for label, count in ((label, int(c[i])) for label, c in counts.items() if c[i]):
            height = 100 * count / highest
            top += height
            words.append(f"{count} {GROUPS[label][1]}")
            rects.append(
                f'<rect class="{GROUPS[label][0]}" x="{i + 0.06:.2f}" width="0.88" '
                f'y="{100 - top:.3f}" height="{height:.3f}"/>'
            )
        if rects:
            span = f"{edges[i]:.{digits}f} to {edges[i + 1]:.{digits}f}"
            bars.append(f"<g><title>{span}: {', '.join(words)}</title>{''.join(rects)}</g>")
    finite = [score for score in scores if math.isfinite(score)]
    summary = "no scores"
    if finite:
        summary = f"median {np.median(finite):.{digits}f}, highest {max(finite):.{digits}f}"
    cut = ""
    if threshold is not None and math.isfinite(threshold):
        summary += f", threshold {threshold:.{digits}f}"
        x = _BINS * (threshold - edges[0]) / (edges[-1] - edges[0])
        cut = f'<line class="cut" x1="{x:.3f}" x2="{x:.3f}" y1="-8" y2="100"/>'
    keys = ""
    if any(label is not None for label in counts):
        marks = ((GROUPS[label]) for label in counts)
        keys = "".join(f'<span><span class="mark {c}"></span>{word}</span>' for c, word in marks)
    places = max(0, 1 - math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    axis = "".join(f"<span>{tick:.{places}f}</span>" for tick in ticks)
    return (
        f'<div class="panel chart"><header><h3>{html_text(head)}</h3><span>{summary}</span>'
        f'<span class="keys">{keys}</span></header>'
        f'<div class="top">{highest} image{"s" * (highest > 1)}</div>'
        f'<svg class="bars" viewBox="0 0 {_BINS} 100" preserveAspectRatio="none" role="img" '
        f'aria-label="Histogram of the scores of {html_text(head)}: {summary}">{"".join(bars)}{cut}'
        f'</svg><div class="ticks" aria-hidden="true">{axis}</div></div>'
    )


def heat_legend(head: str, index: int, low: float, high: float) -> str:
    """The heat colours with the values at which they begin and are full, for head `index`."""
    colours, opacity = heat_table()
    stops = "".join(
        f'<stop offset="{i / 255:.3f}" stop-color="rgb({",".join(map(str, colours[i]))})" '
        f'stop-opacity="{opacity[i]:.3f}"/>'
        for i in range(0, 256, 15)
    )
    places = decimals([low, high])
    return (
        f'<div class="scale" data-head="{index}"{" hidden" * (index > 0)}>'
        f"<span>Heat &le;&thinsp;{low:.{places}f}</span>"
        f'<svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="Heat '
        f'colours of {html_text(head)}, weak to strong"><linearGradient id="heat{index}">{stops}'
        f'</linearGradient><rect width="100" height="10" fill="url(#heat{index})"/></svg>'
        f"<span>&ge;&thinsp;{high:.{places}f}</span></div>"
    )


def thumbnail(image: Image.Image) -> str:
    """The size and source attributes of an <img> that holds a small copy of the image."""
    small = image.convert("RGB")
    size = fit_within(small.size, _THUMBNAIL_SIDE)
    buffer = io.BytesIO()
    small.resize(size, Image.LANCZOS, reducing_gap=3.0).save(buffer, "JPEG", quality=82)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'width="{size[0]}" height="{size[1]}" src="data:image/jpeg;base64,{data}"'


def _ticks(low: float, high: float) -> list[float]:
    """Evenly spaced round numbers that enclose low..high."""
    if low == high:
        low, high = low - (abs(low) or 1) * 0.05, high + (abs(high) or 1) * 0.05
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(m for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    return [i * step for i in range(math.floor(low / step), math.ceil(high / step) + 1)]
