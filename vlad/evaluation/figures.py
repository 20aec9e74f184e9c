"""The figures of a bench: means over seeds, categories and sets of its rows, and where they apply.

bench.csv   one line for each head, shot, corruption, category or mean of them, and metric
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vlad.evaluation.certainty import Certainty, Key
from vlad.system.text import csv_line, csv_text, encode

MEAN = ""  # the name of what is a mean over all
_COLUMNS = (
    *("data", "category", "head", "protocol", "k_shot", "corruption", "metric", "value", "std"),
    *("low", "high", "minus_best", "p"),
)
Rows = Sequence[dict]


@dataclass(frozen=True)
class Scope:
    """What a table is about: the rows of a category, of a set, or of all sets.

    Attributes:
        data, category: names; `MEAN` for all of them.
        rows: of any head, shot, seed and corruption.
    """

    data: str
    category: str
    rows: Rows

    @property
    def heads(self) -> list[Key]:
        """Heads with their shots, in the order of the rows."""
        return list(dict.fromkeys((row["head"], row["k_shot"]) for row in self.rows))

    def of(self, key: Key, corruption: str | None = None) -> list[dict]:
        """The rows of a head with some shots, on images as they are or corrupted."""
        return [
            row
            for row in self.rows
            if (row["head"], row["k_shot"], row.get("corruption")) == (*key, corruption)
        ]


def scopes(rows: Rows) -> Iterator[Scope]:
    """Each category, then the mean of a set of several, then that of several sets."""
    sets = dict.fromkeys(row["data"] for row in rows)
    for name in sets:
        own = [row for row in rows if row["data"] == name]
        categories = list(dict.fromkeys(row["category"] for row in own))
        for category in categories:
            yield Scope(name, category, [row for row in own if row["category"] == category])
        if len(categories) > 1:
            yield Scope(name, MEAN, own)
    if len(sets) > 1:
        yield Scope(MEAN, MEAN, rows)


def corruptions(rows: Rows) -> list[str]:
    """The corruptions that some rows were measured with."""
    return list(dict.fromkeys(c for row in rows if (c := row.get("corruption"))))


def seed_means(rows: Rows, metric: str) -> list[float]:
    """For each seed the mean over data sets of the means over their categories."""
    means = []
    for seed in dict.fromkeys(row["seed"] for row in rows):
        sets: dict[str, list[float]] = {}
        for row in rows:
            value = row.get(f"metric.{metric}")
            if row["seed"] == seed and value is not None and value == value:
                sets.setdefault(row["data"], []).append(value)
        if sets:
            means.append(float(np.mean([np.mean(values) for values in sets.values()])))
    return means


def by_shots(rows: Rows) -> dict[int, dict[str, float]]:
    """Number of shots, ascending -> "set/category/head/metric" -> mean over seeds.

    Means over categories and sets are called "mean"; figures on corrupted images have the name of
    the corruption before that of the metric.
    """
    found: dict[int, dict[str, float]] = {k: {} for k in sorted({row["k_shot"] for row in rows})}
    names = list(dict.fromkeys(n[7:] for row in rows for n in row if n.startswith("metric.")))
    for scope in scopes(rows):
        for corruption in (None, *corruptions(scope.rows)):
            for head, k_shot in scope.heads:
                parts = [scope.data or "mean", scope.category or "mean", head]
                where = "/".join([*parts, *filter(None, [corruption])])
                own = scope.of((head, k_shot), corruption)
                for name in names:
                    if values := seed_means(own, name):
                        found[k_shot][f"{where}/{name}"] = float(np.mean(values))
    return found


def csv(rows: Rows, certainty: Certainty) -> bytes:
    """All figures, as fractions; empty where a metric has none.

    `category` is empty for the mean over those of a set, `data` too for the mean over sets.
    `std` is over seeds, of two or more; `low` and `high` bound the 95 % interval of an image
    metric; `minus_best` and `p` compare the image AUROC of images as they are with the best head
    of as many shots in the same category or mean.
    """
    names = list(dict.fromkeys(n[7:] for row in rows for n in row if n.startswith("metric.")))
    lines = [csv_line(_COLUMNS)]
    for scope in scopes(rows):
        compared = certainty.against_best({key: scope.of(key) for key in scope.heads})
        for corruption in (None, *corruptions(scope.rows)):
            for key in scope.heads:
                own = scope.of(key, corruption)
                first = [csv_text(scope.data), csv_text(scope.category), key[0]]
                first += [own[0]["protocol"] if own else "", str(key[1]), corruption or ""]
                for name in names:
                    values = seed_means(own, name)
                    if not values:
                        continue
                    found = certainty.interval(own, name)
                    against = compared.get(key) if (name, corruption) == _COMPARED else None
                    numbers = [
                        np.mean(values),
                        np.std(values) if len(values) > 1 else None,
                        *((found.low, found.high) if found else (None, None)),
                        *((against.value, against.p) if against else (None, None)),
                    ]
                    cells = ["" if n is None else repr(float(n)) for n in numbers]
                    lines.append(csv_line([*first, name, *cells]))
    return encode("".join(lines))


_COMPARED = ("image_auroc", None)
