"""Measured figures beside published ones: differences, and whether they count as reproduced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from vlad.evaluation.figures import seed_means
from vlad.evaluation.published import JUDGED, SHOWN, DataSource, Figure, Method
from vlad.evaluation.tables import COLUMNS
from vlad.system.text import counted, shown


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
        tolerance: percentage points within which a figure counts as reproduced; unless `strict`, at
            least two of the standard deviations over draws that a source states.
        rows: of the bench, one for each category and draw.
        differs: how the protocol differs from the published one, a sentence each; figures are then
            shown and not judged.
        assumed: what is taken for granted, a sentence each; said with the verdict.
        strict: whether the tolerance holds whatever a source states, as when a user gave it.
    """

    method: Method
    data: DataSource
    k_shot: int
    figures: Sequence[Figure]
    tolerance: float
    rows: Sequence[dict]
    differs: Sequence[str] = ()
    assumed: Sequence[str] = ()
    strict: bool = False

    @property
    def title(self) -> str:
        """What was measured."""
        normal = counted(self.k_shot, "normal image") if self.k_shot else "no normal images"
        return f"{self.method.head} on {self.data.title}, {normal}"

    @cached_property
    def values(self) -> dict[str, float]:
        """Metric -> mean over categories and draws, in percent, if each of these has a value."""
        return {name: float(found.mean()) for name, found in self._draws.items()}

    @cached_property
    def std(self) -> dict[str, float]:
        """Metric -> standard deviation over two or more draws, in percentage points."""
        return {name: float(x.std()) for name, x in self._draws.items() if len(x) > 1}

    @cached_property
    def _draws(self) -> dict[str, np.ndarray]:
        whole = [name for name in SHOWN if not self._without(name) and self.rows]
        return {name: 100 * np.array(seed_means(self.rows, name)) for name in whole}

    def _without(self, metric: str) -> list[str]:
        """Categories without a value in some draw, which has none where masks or labels lack."""
        values = [(row["category"], row.get(f"metric.{metric}")) for row in self.rows]
        return list(dict.fromkeys(c for c, value in values if value is None or value != value))

    @property
    def target(self) -> Figure:
        """The figure to judge by."""
        return self.figures[0]

    @property
    def judged(self) -> list[str]:
        """The metrics that are compared with those of the target; none if the protocol differs."""
        return [] if self.differs else self._common

    @property
    def outside(self) -> list[str]:
        """The metrics that differ from those of the target by more than is allowed."""
        return [name for name in self.judged if abs(self._off(name)) > self.allowed(name)]

    @property
    def verdict(self) -> str:
        """In one line: reproduced, not, or why it cannot be told."""
        return " ".join([f"{self._verdict}.".replace("..", "."), *self._unmeasured, *self.assumed])

    @property
    def _verdict(self) -> str:
        if self.differs:
            return f"not judged: {' '.join(self.differs)}"
        if not self._common:
            return f"not judged: no figure of {self.target.source} was measured"
        if outside := self.outside:
            named = ", ".join(f"{words(name)} by {self._off(name):+.1f}" for name in outside)
            return f"NOT reproduced: {named} from {self.target.source}"
        points = "point" if self.tolerance == 1 else "points"
        found = f"reproduced within {self.tolerance:g} {points} of {self.target.source}"
        draws = [name for name in self.judged if abs(self._off(name)) > self.tolerance]
        if draws:
            named = ", ".join(f"{words(name)} by {self._off(name):+.1f}" for name in draws)
            found += f", or two standard deviations over draws ({named})"
        return found

    @property
    def _unmeasured(self) -> list[str]:
        """What of the target has no value here, in a sentence."""
        lost = [name for name in self._comparable if name not in self.values]
        if not lost:
            return []
        where = list(dict.fromkeys(c for name in lost for c in self._without(name)))
        named = ", ".join(map(words, lost))
        return [f"Without {named}, not measured on {', '.join(where) or 'any category'}."]

    def allowed(self, metric: str) -> float:
        """Percentage points by which a metric may differ from that of the target.

        Two standard deviations of one draw, however many are measured: the target may be one draw.
        """
        if self.strict:
            return self.tolerance
        stated = [figure.std[metric] for figure in self.figures if metric in figure.std]
        return max(self.tolerance, *(2 * std for std in stated), 0.0)

    @property
    def _common(self) -> list[str]:
        return [name for name in self._comparable if name in self.values]

    @property
    def _comparable(self) -> list[str]:
        """The metrics of the target that may be judged."""
        kept = (name for name in JUDGED if name not in self.method.unjudged)
        return [name for name in kept if name in self.target.values]

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


def short(backbone: str) -> str:
    """A backbone without the folders that it lies in, which nobody else need know."""
    model, equals, file = backbone.rpartition("=")
    return shown(f"{model}{equals}{Path(file).name}" if Path(file).exists() else backbone)


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
            lines += ["", *(f"- {text}" for text in _how(one))]
    return "\n".join(lines) + "\n"


def _how(one: Reproduction) -> list[str]:
    """How rows were measured and on which machine, each different way once."""
    keys = (
        *("backbone", "weights", "image_size", "dtype", "runtime", "bank", "auxiliary"),
        *("protocol", "vlad", "torch", "device", "cpu"),
    )
    rows = ({**row, "backbone": short(row["backbone"])} for row in one.rows)
    ways = (", ".join(f"{k} {row[k]}" for k in keys if row.get(k)) for row in rows)
    params = one.method.params_on(one.data.name)
    said = [f"{one.method.head}.{name}={value}" for name, value in params.items()]
    seeds = sorted({row["seed"] for row in one.rows})
    if one.k_shot:
        said.append(f"{counted(len(seeds), 'draw')} of normal images")
    return [*dict.fromkeys(ways), *said]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _number(value: float | None, std: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f}" if std is None else f"{value:.1f} ± {std:.1f}"
