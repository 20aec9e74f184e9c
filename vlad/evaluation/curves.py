"""Metrics of a bench over the number of normal images, as one SVG: a panel for each set and metric.

A line is a head, its mean over seeds with ± one standard deviation; heads measured with one number
of normal images, or none, are points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlad.evaluation.figures import Rows, Scope, scopes, seed_means
from vlad.heads import titled
from vlad.report.charts import round_ticks
from vlad.system.templates import template
from vlad.system.text import shown

_METRICS = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC"}
_WIDTH, _HEIGHT = 300, 180  # of a panel's axes
_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 34, 24, 44  # around them
_LEGEND = 20  # height of a line
# distinct for colour-blind readers (Okabe & Ito)
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#888888")
_DASHES = ("none", "6 3", "2 3")


def shot_curves(rows: Rows) -> dict[str, Any] | None:
    """The values of the template; None if no head was measured with several numbers of shots."""
    clean = [row for row in rows if not row.get("corruption")]
    shots = sorted({row["k_shot"] for row in clean})
    names = {row["head"]: titled(row["head"], row["protocol"]) for row in clean}
    if not any(len({r["k_shot"] for r in clean if r["head"] == head}) > 1 for head in names):
        return None
    wholes = list({scope.data: scope for scope in scopes(clean)}.values())
    metrics = [m for m in _METRICS if any(f"metric.{m}" in row for row in clean)]
    styles = {head: _style(place) for place, head in enumerate(names)}
    columns, top = len(metrics), _LEGEND * -(-len(names) // 3) + 10
    width, height = _LEFT + _WIDTH + _RIGHT, _TOP + _HEIGHT + _BOTTOM
    panels = [
        _panel(scope, metric, shots, styles)
        | {"x": _LEFT + column * width, "y": top + _TOP + line * height}
        for line, scope in enumerate(wholes)
        for column, metric in enumerate(metrics)
    ]
    third = max(columns * width, 480) // 3
    legend = [
        {"x": 12 + third * (place % 3), "y": 16 + _LEGEND * (place // 3), "name": shown(name)}
        | styles[head]
        for place, (head, name) in enumerate(names.items())
    ]
    return {
        "width": max(columns * width, 480),
        "height": top + len(wholes) * height,
        "axes": (_WIDTH, _HEIGHT),
        "panels": panels,
        "legend": legend,
    }


def svg(curves: Mapping[str, Any]) -> str:
    """The curves as a file of their own."""
    return template(Path(__file__).with_name("curves.html.j2")).render(curves=curves)


def _style(place: int) -> dict[str, str]:
    turn = place // len(_COLOURS) % len(_DASHES)
    return {"colour": _COLOURS[place % len(_COLOURS)], "dash": _DASHES[turn]}


def _panel(
    scope: Scope, metric: str, shots: Sequence[int], styles: Mapping[str, dict[str, str]]
) -> dict[str, Any]:
    found: dict[str, list[tuple[int, float, float]]] = {}
    for head, k_shot in scope.heads:
        if values := [100 * mean for mean in seed_means(scope.of((head, k_shot)), metric)]:
            point = (k_shot, float(np.mean(values)), float(np.std(values)))
            found.setdefault(head, []).append(point)
    ends = [v + s for points in found.values() for _, v, std in points for s in (std, -std)]
    marks = round_ticks(max(0, min(ends)), min(100, max(ends))) if ends else [0.0, 100.0]

    def across(k_shot: int) -> float:
        # as far apart as the numbers given, not as their values
        return round((shots.index(k_shot) + 0.5) * _WIDTH / len(shots), 1)

    def down(value: float) -> float:
        return round(_HEIGHT * (marks[-1] - value) / (marks[-1] - marks[0]), 1)

    places = 0 if all(mark == round(mark) for mark in marks) else 1
    lines = []
    for head, points in found.items():
        spots = [(across(k), down(v), down(v - s), down(v + s)) for k, v, s in sorted(points)]
        said = [f"{head}, {k} shots: {v:.1f} ± {s:.1f}" for k, v, s in sorted(points)]
        lines.append({"spots": spots, "said": [shown(one) for one in said]} | styles[head])
    return {
        "title": f"{shown(scope.data) or 'mean of all data sets'}: {_METRICS[metric]}",
        "lines": lines,
        "across": [(across(k), k) for k in shots],
        "down": [(down(mark), f"{mark:.{places}f}") for mark in marks],
    }
