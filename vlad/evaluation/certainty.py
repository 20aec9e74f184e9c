"""How sure the image metrics of a bench are, from the scores that its rows keep.

Intervals resample test images, the same for all heads, and average as the tables do: over seeds,
categories and data sets. Comparisons are DeLong's on the images that both heads scored; categories
and sets hold different images, so their errors add up. Neither sees the chance in the choice of
normal images, which the standard deviation over seeds shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np

from vlad.metrics import Difference, Interval, delong, holm, interval, mean_difference, resampled
from vlad.system.text import encode

METRICS = {"image_auroc": "auroc", "image_ap": "ap", "image_f1_max": "f1_max"}
Key = tuple[str, int]  # head and number of shots


class Certainty:
    """Intervals and comparisons of rows; what was resampled is kept for the next table."""

    def __init__(self) -> None:
        self.flat = False  # whether an interval had no width
        self.values: dict[int, tuple[dict, dict[str, np.ndarray]]] = {}  # by id of the row

    def interval(self, rows: Sequence[dict], metric: str) -> Interval | None:
        """The 95 % interval of the mean of a metric over rows of one head.

        None if it is no image metric, a row has no scores, or no category has both classes.
        """
        if metric not in METRICS or not all(row.get("scores") for row in rows):
            return None
        sets: dict[str, list[np.ndarray]] = {}
        for (data, _), own in _by_category(rows).items():
            if all(len(set(row["labels"])) == 2 for row in own):
                values = [self._resampled(row)[METRICS[metric]] for row in own]
                sets.setdefault(data, []).append(np.mean(values, axis=0))
        if not sets:
            return None
        found = interval(np.mean([np.mean(of, axis=0) for of in sets.values()], axis=0))
        self.flat |= found.low == found.high
        return found

    def against_best(self, heads: Mapping[Key, Sequence[dict]]) -> dict[Key, Difference | None]:
        """Head and shots -> its image AUROC minus that of the best head with as many shots.

        The p-values are Holm's, over all heads given. The best of several has None; a head that
        cannot be compared has no entry.
        """
        found: dict[Key, Difference] = {}
        best: list[Key] = []
        for shots in dict.fromkeys(k_shot for _, k_shot in heads):
            group = {key: rows for key, rows in heads.items() if key[1] == shots}
            top = max(group, key=lambda key: _mean_auroc(group[key]))
            for key, rows in group.items():
                if key != top and (difference := _difference(rows, group[top])):
                    found[key] = difference
                    best.append(top)
        corrected = holm([one.p for one in found.values()])
        return dict.fromkeys(best) | {
            key: replace(one, p=float(p))
            for (key, one), p in zip(found.items(), corrected, strict=True)
        }

    def _resampled(self, row: dict) -> dict[str, np.ndarray]:
        if id(row) not in self.values:
            # one draw of images a category, whatever the head
            seed = crc32(encode(f"{row['data']}/{row['category']}"))
            self.values[id(row)] = row, resampled(row["scores"], row["labels"], seed=seed)
        return self.values[id(row)][1]


def _difference(rows: Sequence[dict], others: Sequence[dict]) -> Difference | None:
    """Mean over sets of the means over categories; None without scores to compare."""
    if not all(row.get("scores") for row in (*rows, *others)):
        return None
    theirs = _by_category(others)
    sets: dict[str, list[Difference]] = {}
    for place, own in _by_category(rows).items():
        if place not in theirs:
            continue
        seen = [dict(zip(row["ids"], row["scores"], strict=True)) for row in own + theirs[place]]
        ids = [id for id in own[0]["ids"] if all(id in scores for scores in seen)]
        truth = dict(zip(own[0]["ids"], own[0]["labels"], strict=True))
        labels = [truth[id] for id in ids]
        if min(labels.count(0), labels.count(1)) < 2:
            continue
        scores = [[of[id] for id in ids] for of in seen]
        found = delong(scores[: len(own)], scores[len(own) :], labels)
        sets.setdefault(place[0], []).append(found)
    return mean_difference([mean_difference(of) for of in sets.values()]) if sets else None


def _by_category(rows: Iterable[dict]) -> dict[tuple[str, str], list[dict]]:
    """(data, category) -> rows of all seeds."""
    found: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        found.setdefault((row["data"], row["category"]), []).append(row)
    return found


def _mean_auroc(rows: Sequence[dict]) -> float:
    values = [value for row in rows if (value := row.get("metric.image_auroc")) == value]
    return float(np.mean([v for v in values if v is not None] or [-1.0]))
