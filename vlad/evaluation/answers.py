"""How many multiple-choice questions were answered rightly, by data set and kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

import numpy as np

from vlad.evaluation.asking import Answered
from vlad.metrics import Interval, interval

DRAWS = 1000


@dataclass(frozen=True)
class Group:
    """The questions of one kind about one data set.

    Attributes:
        data, kind: which; None for all of them.
        questions, images: how many.
        accuracy: share of right answers; a question without an answer counts as wrong.
        interval: 95 %, from resampled images.
        no_answer: share of questions without an answer.
        chance: expected accuracy of guessing.
        always: accuracy of the best constant answer, one letter or one text, found on these
            questions themselves.
        answer: that answer.
        balanced: mean of the accuracies over the right answers, if all questions have the same
            options, such as Yes and No; None otherwise.
    """

    data: str | None
    kind: str | None
    questions: int
    images: int
    accuracy: float
    interval: Interval
    no_answer: float
    chance: float
    always: float
    answer: str
    balanced: float | None


def groups_of(answers: Sequence[Answered]) -> list[Group]:
    """Data set by data set and kind by kind, then kinds over all data sets, then everything.

    Args:
        answers: those to questions that were not asked are left out.
    """
    asked = [one for one in answers if not one.unread]
    found: list[Group] = []

    def add(data: str | None, kind: str | None) -> None:
        own = [
            one
            for one in asked
            if data in (None, one.question.data) and kind in (None, one.question.kind)
        ]
        if own:
            found.append(_group(data, kind, own))

    sets = list(dict.fromkeys(one.question.data for one in asked))
    kinds = list(dict.fromkeys(one.question.kind for one in asked))
    for data in sets:
        for kind in kinds:
            add(data, kind)
    if len(sets) > 1:
        for kind in kinds:
            add(None, kind)
    if len(found) > 1:
        add(None, None)
    return found


def mean_of_kinds(groups: Sequence[Group]) -> float:
    """The mean over data sets of the mean over kinds, balanced where that exists, as MMAD's is."""
    sets: dict[str, list[float]] = {}
    for group in groups:
        if group.data is not None and group.kind is not None:
            value = group.accuracy if group.balanced is None else group.balanced
            sets.setdefault(group.data, []).append(value)
    return float(np.mean([np.mean(values) for values in sets.values()]))


def letters_of(answers: Sequence[Answered]) -> dict[str, dict[str, float]]:
    """Letter -> share of the answers with it, and share of questions where it was right.

    The two differ much where a model prefers a position, whatever stands there.
    """
    asked = [one for one in answers if one.chosen is not None]
    chosen = Counter(one.letter(one.chosen) for one in asked)
    right = Counter(one.letter(one.question.answer) for one in asked)
    return {
        letter: {"chosen": chosen[letter] / len(asked), "right": right[letter] / len(asked)}
        for letter in ascii_uppercase
        if chosen[letter] + right[letter]
    }


def _group(data: str | None, kind: str | None, answers: Sequence[Answered]) -> Group:
    always, answer = _constant(answers)
    return Group(
        data,
        kind,
        len(answers),
        len({one.question.image for one in answers}),
        float(np.mean([one.right for one in answers])),
        _interval(answers),
        float(np.mean([one.chosen is None for one in answers])),
        float(np.mean([1 / len(one.order) for one in answers])),
        always,
        answer,
        _balanced(answers),
    )


def _interval(answers: Sequence[Answered]) -> Interval:
    """From resampled images, since questions about one image are not independent."""
    places: dict[str, int] = {}
    counts = np.zeros((len(answers), 2))
    for one in answers:
        place = places.setdefault(one.question.image, len(places))
        counts[place] += (one.right, 1)
    counts = counts[: len(places)]
    random = np.random.default_rng(0)
    drawn = random.integers(len(counts), size=(DRAWS, len(counts)), dtype=np.int32)
    totals = np.stack([counts[row].sum(axis=0) for row in drawn])
    return interval(totals[:, 0] / totals[:, 1])


def _constant(answers: Sequence[Answered]) -> tuple[float, str]:
    letters = Counter(one.letter(one.question.answer) for one in answers)
    texts = Counter(one.question.options[one.question.answer] for one in answers)
    answer, count = max((x for c in (texts, letters) for x in c.items()), key=lambda x: x[1])
    return count / len(answers), answer


def _balanced(answers: Sequence[Answered]) -> float | None:
    if len({frozenset(one.question.options) for one in answers}) > 1:
        return None
    by_answer: dict[str, list[bool]] = {}
    for one in answers:
        by_answer.setdefault(one.question.options[one.question.answer], []).append(one.right)
    return float(np.mean([np.mean(rights) for rights in by_answer.values()]))
