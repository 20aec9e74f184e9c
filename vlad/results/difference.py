"""What differs between two finished runs: settings, scores, ranks and verdicts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlad.errors import InputError
from vlad.results.finished import Finished
from vlad.results.runjson import OWN
from vlad.system.text import counted, shown

NOT_SET = "-"
# settings that are images: path -> digest
_IMAGES = ("references", "pool", "known_defects")
_LONGEST = 48  # characters of a setting


@dataclass(frozen=True)
class Change:
    """An image under one head, in run A and in run B.

    Attributes:
        paths: as each run names the image.
        scores: its image scores.
        ranks: its places among the images compared, from 1 for the highest score; equal scores
            share the first of their places.
        verdicts: "normal", "anomalous" or "unsure"; None in a run without verdicts.
    """

    paths: tuple[str, str]
    scores: tuple[float, float]
    ranks: tuple[int, int]
    verdicts: tuple[str | None, str | None]

    @property
    def moved(self) -> int:
        """Places that it fell from A to B; negative if it rose."""
        return self.ranks[1] - self.ranks[0]

    @property
    def flipped(self) -> bool:
        """Whether both runs have a verdict, and another one."""
        return None not in self.verdicts and self.verdicts[0] != self.verdicts[1]


@dataclass(frozen=True)
class HeadDifference:
    """How the scores of one head differ.

    Attributes:
        changes: of the images that it scored in both runs; changed verdicts first, then those
            whose rank changed most.
        spearman, kendall: rank correlations of the scores, Kendall's with ties (tau-b); None of
            fewer than 2 images or equal scores.
        mean_change: mean of score in B minus score in A; None without images.
        judged: whether both runs have verdicts of it.
    """

    changes: list[Change]
    spearman: float | None
    kendall: float | None
    mean_change: float | None
    judged: bool

    @property
    def flips(self) -> Counter[tuple[str | None, str | None]]:
        """(verdict in A, verdict in B) -> number of images, where they differ."""
        return Counter(change.verdicts for change in self.changes if change.flipped)


@dataclass(frozen=True)
class Difference:
    """How run B differs from run A.

    Attributes:
        settings: name -> (in A, in B), of the settings that scores and verdicts depend on.
        compared: number of images compared.
        left_out: path of each image that is not compared -> why, as in "only in A".
        heads: head, or "fused" -> its difference; those that both runs have.
        notes: sentences about what the comparison is worth.
    """

    settings: dict[str, tuple[str, str]]
    compared: int
    left_out: dict[str, str]
    heads: dict[str, HeadDifference]
    notes: list[str]

    @property
    def reasons(self) -> Counter[str]:
        """Why images are not compared -> how many."""
        return Counter(self.left_out.values())


def compare_runs(a: Finished, b: Finished) -> Difference:
    """Compare two runs over the images that both scored, wherever they name them from.

    Raises:
        InputError: the runs share no head, or no image that can be compared.
    """
    names = [name for name in a.scores if name in b.scores]
    if not names:
        raise InputError(
            f"{a.folder} has scores of {', '.join(a.scores)}, {b.folder} of "
            f"{', '.join(b.scores)}; name two runs that share a head."
        )
    pairs, left_out = _pairs(a, b)
    if not pairs:
        why = ", ".join(f"{number} {why}" for why, number in Counter(left_out.values()).items())
        raise InputError(
            f"{a.folder} and {b.folder} share no image to compare ({why or 'no images'}); "
            "name two runs over the same images."
        )
    heads = {name: _head(a, b, name, pairs) for name in names}
    return Difference(_settings(a, b), len(pairs), left_out, heads, _notes(a, b, names, left_out))


def _pairs(a: Finished, b: Finished) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """The paths of images to compare, in A and in B; and why the others are not."""
    first, second = a.folder.rows, b.folder.rows
    # real paths cost time, so that only those that differ are resolved
    real = {os.path.realpath(path): path for path in second if path not in first}
    pairs, left_out, seen = [], {}, set()
    for path, row in first.items():
        other = path if path in second else real.get(os.path.realpath(path))
        if other is None:
            left_out[path] = "only in A"
            continue
        seen.add(other)
        errors = {"A": row.error, "B": second[other].error}
        failed = [run for run, error in errors.items() if error is not None]
        if failed:
            left_out[path] = f"failed in {' and '.join(failed)}"
        elif row.state and not row.state.same(second[other].state):
            left_out[path] = "changed between A and B"
        else:
            pairs.append((path, other))
    left_out |= {path: "only in B" for path in second if path not in seen}
    return pairs, left_out


def _head(a: Finished, b: Finished, name: str, pairs: list[tuple[str, str]]) -> HeadDifference:
    from scipy.stats import kendalltau, rankdata, spearmanr

    one, two = a.scores[name], b.scores[name]
    pairs = [(p, q) for p, q in pairs if p in one and q in two]
    scores = np.array([(one[p], two[q]) for p, q in pairs], float).reshape(-1, 2)
    ranks = rankdata(-scores, method="min", axis=0).astype(int)
    words = [(a.verdicts.get(name, {}).get(p), b.verdicts.get(name, {}).get(q)) for p, q in pairs]
    rows = zip(pairs, scores.tolist(), ranks.tolist(), words, strict=True)
    changes = [Change(pair, (s[0], s[1]), (r[0], r[1]), v) for pair, s, r, v in rows]
    changes.sort(key=lambda change: (not change.flipped, -abs(change.moved)))
    differ = len(pairs) > 1 and bool((scores != scores[0]).any(axis=0).all())
    return HeadDifference(
        changes,
        float(spearmanr(*scores.T).statistic) if differ else None,
        float(kendalltau(*scores.T).statistic) if differ else None,
        float((scores[:, 1] - scores[:, 0]).mean()) if pairs else None,
        name in a.verdicts and name in b.verdicts,
    )


def _notes(a: Finished, b: Finished, names: list[str], left_out: Mapping[str, str]) -> list[str]:
    notes = []
    for run, this, other in (("A", a, b), ("B", b, a)):
        if alone := [name for name in this.scores if name not in other.scores]:
            notes.append(f"Only {run} has scores of {', '.join(alone)}.")
        if missing := [n for n in names if n in other.verdicts and n not in this.verdicts]:
            notes.append(f"{run} has no verdicts of {', '.join(missing)}.")
    protocols = a.folder.settings.get("protocol", {})
    joint = [name for name in names if "transductive" in protocols.get(name, "").split(", ")]
    if joint and any(reason.startswith(("only", "failed")) for reason in left_out.values()):
        notes.append(
            f"Scores of {', '.join(joint)} depend on all images of a run, and A and B hold "
            "different ones."
        )
    return notes


def _settings(a: Finished, b: Finished) -> dict[str, tuple[str, str]]:
    first, second = a.folder.settings, b.folder.settings
    alone = set(a.folder.heads) ^ set(b.folder.heads)  # their settings say nothing here
    found: dict[str, tuple[str, str]] = {}
    for key in dict.fromkeys([*first, *second]):
        if key in ("kind", "format", *OWN):
            continue
        one, two = first.get(key), second.get(key)
        if key in _IMAGES:
            if (digests := _digests(one)) != (others := _digests(two)):
                both = (digests & others).total()
                last = f"{counted(others.total(), 'image')}, {both} of them also in A"
                found[key] = counted(digests.total(), "image"), last
            continue
        flat, other = dict(_flat(one, key, alone)), dict(_flat(two, key, alone))
        for name in dict.fromkeys([*flat, *other]):
            if (was := flat.get(name)) != (now := other.get(name)):
                found[name] = _said(was), _said(now)
    for name, was in a.thresholds.items():
        if name in b.thresholds and was != (now := b.thresholds[name]):
            found[f"threshold of {name}"] = f"{was:.6g}", f"{now:.6g}"
    return found


def _digests(images: Mapping[str, str] | None) -> Counter[str]:
    return Counter((images or {}).values())


def _flat(value: Any, name: str, alone: set[str]) -> Iterator[tuple[str, object]]:
    """The values in a setting, by their dotted names."""
    if not isinstance(value, dict):
        yield name, value
        return
    for key, inner in value.items():
        if key not in alone:
            yield from _flat(inner, f"{name}.{key}", alone)


def _said(value: object) -> str:
    text = NOT_SET if value is None else shown(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
