"""Measured figures beside published ones: differences, and whether they count as reproduced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vlad.evaluation.figures import seed_means
from vlad.evaluation.published import JUDGED, SHOWN, DataSource, Figure, Method
from vlad.evaluation.tables import COLUMNS
from vlad.system.text import counted


@dataclass(frozen=True)
class Missing:
    """A head that could not run on a data set.

    Attributes:
        reason: why, with the remedy.
    """

    method: Method
    data: DataSource
    reason: str

    @property
    def title(self) -> str:
        """What was to be measured."""
        return f"{self.method.head} on {self.data.title}"

    @property
    def verdict(self) -> str:
        """In one line."""
        return f"not measured: {self.reason}"


@dataclass(frozen=True)
class Reproduction:
    """What was measured for a head, a data set and a number of normal images.

    Attributes:
        method: how the head is run.
        data: the data set.
        k_shot: number of normal images.
        figures: the published ones, that to judge by first.
        tolerance: percentage points within which a figure counts as reproduced; at least two of
            the standard deviations over draws that the figure came with.
        rows: of the bench, one for each category and draw.
        differs: how the protocol differs from the published one, a sentence each; figures are then
            shown and not judged.
    """

    method: Method
    data: DataSource
    k_shot: int
    figures: Sequence[Figure]
    tolerance: float
    rows: Sequence[dict]
    differs: Sequence[str] = ()

    @property
    def title(self) -> str:
        """What was measured."""
        normal = counted(self.k_shot, "normal image") if self.k_shot else "no normal images"
        return f"{self.method.head} on {self.data.title}, {normal}"

    @cached_property
    def values(self) -> dict[str, float]:
        """Metric -> mean over categories and draws, in percent."""
        return {name: float(found.mean()) for name, found in self._draws.items()}

    @cached_property
    def std(self) -> dict[str, float]:
        """Metric -> standard deviation over two or more draws, in percentage points."""
        return {name: float(x.std()) for name, x in self._draws.items() if len(x) > 1}

    @cached_property
    def _draws(self) -> dict[str, np.ndarray]:
        each = {name: 100 * np.array(seed_means(self.rows, name)) for name in SHOWN}
        return {name: found for name, found in each.items() if len(found)}

    @property
    def target(self) -> Figure:
        """The figure to judge by."""
        return self.figures[0]

    @property
    def outside(self) -> list[str]:
        """The metrics that differ from those of the target by more than is allowed."""
        if self.differs:
            return []
        return [name for name in self._common if abs(self._off(name)) > self.allowed(name)]

    @property
    def verdict(self) -> str:
        """In one line: reproduced, not, or why it cannot be told."""
        if self.differs:
            return f"not judged: {' '.join(self.differs)}"
        if outside := self.outside:
            named = ", ".join(f"{words(name)} by {self._off(name):+.1f}" for name in outside)
            return f"NOT reproduced: {named} from {self.target.source}"
        return f"reproduced within {self.tolerance:g} points of {self.target.source}"

    def allowed(self, metric: str) -> float:
        """Percentage points by which a metric may differ from that of the target."""
        return max(self.tolerance, 2 * self.target.std.get(metric, 0.0))

    @property
    def _common(self) -> list[str]:
        return [name for name in JUDGED if name in self.values and name in self.target.values]

    def _off(self, metric: str) -> float:
        return self.values[metric] - self.target.values[metric]

    def table(self) -> list[list[str]]:
        """A line of names, ours, and one for each published figure with its differences."""
        every = [self.values, *(figure.values for figure in self.figures)]
        names = [name for name in SHOWN if any(name in values for values in every)]
        ours = ["vlad", *(_number(self.values.get(name), self.std.get(name)) for name in names)]
        rows = [["", *map(words, names)], ours]
        for figure in self.figures:
            mark = " (target)" if figure is self.target else ""
            row = [f"{figure.kind}: {figure.source}{mark}"]
            for name in names:
                cell = _number(figure.values.get(name), figure.std.get(name))
                if name in figure.values and name in self.values:
                    cell += f" ({self.values[name] - figure.values[name]:+.1f})"
                row.append(cell)
            rows.append(row)
        return rows


def words(metric: str) -> str:
    """A metric in words that tell image from pixel."""
    name = COLUMNS[metric]
    level = metric.partition("_")[0]
    return f"{level} {name}" if level in ("image", "pixel") and level not in name else name


def markdown(found: Sequence[Reproduction | Missing]) -> str:
    """All of it as Markdown to post: a table and a verdict each, how it was run, and where."""
    lines = ["# Published figures, measured again with vlad", ""]
    lines.append("In percent, means over categories; in brackets, vlad minus the published figure.")
    for one in found:
        lines += ["", f"## {one.title}", ""]
        if isinstance(one, Reproduction):
            head, *body = one.table()
            lines += [_line(head), _line(["---"] * len(head)), *map(_line, body), ""]
        lines.append(f"**{one.verdict}**")
        if one.method.note:
            lines += ["", one.method.note]
        if isinstance(one, Reproduction):
            lines += ["", *(f"- {text}" for text in _how(one.rows))]
    return "\n".join(lines) + "\n"


def _how(rows: Sequence[dict]) -> list[str]:
    """How rows were measured and on which machine, each different way once."""
    keys = (
        *("backbone", "weights", "image_size", "dtype", "runtime", "bank", "auxiliary"),
        *("protocol", "vlad", "torch", "device", "cpu"),
    )
    return list(
        dict.fromkeys(", ".join(f"{k} {row[k]}" for k in keys if row.get(k)) for row in rows)
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _number(value: float | None, std: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f}" if std is None else f"{value:.1f} ± {std:.1f}"
