"""Accuracy of answers by data set and kind, and what stands beside it."""

import numpy as np
import pytest

from vlad.datasets.questions import Question
from vlad.evaluation.answers import groups_of, letters_of, mean_of_kinds
from vlad.evaluation.asking import Answered

OPTIONS = ("Yes", "No")


def answered(image, chosen, answer=0, data="d", kind="k", options=OPTIONS, **values):
    asked = Question(image, data, kind, f"About {image}?", options, answer)
    order = values.pop("order", tuple(range(len(options))))
    return Answered(asked, order, chosen, **values)


def test_a_group_counts_missing_answers_as_wrong():
    answers = [answered(str(i), 0) for i in range(6)]
    answers += [answered("6", None, error="no answer: slow"), answered("7", 1)]
    (group,) = groups_of(answers)
    assert (group.data, group.kind, group.questions, group.images) == ("d", "k", 8, 8)
    assert group.accuracy == 6 / 8
    assert group.no_answer == 1 / 8
    assert group.interval.low < 6 / 8 < group.interval.high


def test_questions_that_were_not_asked_do_not_count():
    answers = [answered("0", 0), answered("1", None, unread="1: cannot be read.")]
    assert groups_of(answers)[0].questions == 1


def test_baselines():
    answers = [answered(str(i), 0, answer=int(i > 6)) for i in range(10)]
    answers += [answered("x", 0, options=("a", "b", "c", "d"))]
    (group,) = groups_of(answers)
    assert group.chance == pytest.approx((10 * 0.5 + 0.25) / 11)
    assert (group.always, group.answer) == (8 / 11, "A")  # 7 times Yes, and a
    shuffled = [answered(str(i), 0, order=((0, 1), (1, 0))[i % 2]) for i in range(10)]
    assert groups_of(shuffled)[0].always == 1
    assert groups_of(shuffled)[0].answer == "Yes"


def test_balanced_accuracy_is_the_mean_over_right_answers():
    answers = [answered(str(i), 0, answer=int(i > 7)) for i in range(10)]  # always Yes
    (group,) = groups_of(answers)
    assert group.accuracy == 0.8
    assert group.balanced == 0.5
    mixed = [*answers, answered("x", 0, options=("a", "b"))]
    assert groups_of(mixed)[0].balanced is None


def test_sets_and_kinds_and_all_of_them():
    answers = [
        *(answered(f"a{i}", 0, data="a", kind="one", options=("x", str(i))) for i in range(4)),
        *(answered(f"a{i}", 1, data="a", kind="two", options=("x", str(i))) for i in range(2)),
        *(answered(f"b{i}", i % 2, data="b", kind="one", options=("x", str(i))) for i in range(2)),
    ]
    groups = groups_of(answers)
    found = {(group.data, group.kind): group.accuracy for group in groups}
    assert found == {
        ("a", "one"): 1, ("a", "two"): 0, ("b", "one"): 0.5,
        (None, "one"): 5 / 6, (None, "two"): 0, (None, None): 5 / 8,
    }  # fmt: skip
    assert mean_of_kinds(groups) == pytest.approx(((1 + 0) / 2 + 0.5) / 2)


def test_one_kind_of_one_set_is_one_row():
    assert len(groups_of([answered("0", 0)])) == 1


def test_the_interval_resamples_images_with_all_their_questions():
    alone = [answered(str(i), i % 2) for i in range(100)]
    together = [answered(str(i // 10), i // 10 % 2) for i in range(100)]
    (first,), (second,) = groups_of(alone), groups_of(together)
    assert first.accuracy == second.accuracy == 0.5
    width = [one.interval.high - one.interval.low for one in (first, second)]
    assert width[1] / width[0] == pytest.approx(10**0.5, rel=0.15)  # a tenth of the images
    assert width[0] == pytest.approx(2 * 1.96 * 0.05, rel=0.15)
    assert groups_of(alone) == groups_of(alone)


def test_letters_show_a_preferred_position():
    orders = [(0, 1), (1, 0)]
    answers = [answered(str(i), orders[i % 2][0], answer=0, order=orders[i % 2]) for i in range(10)]
    assert letters_of(answers) == {
        "A": {"chosen": 1, "right": 0.5},
        "B": {"chosen": 0, "right": 0.5},
    }
    assert np.mean([one.right for one in answers]) == 0.5
    assert letters_of([answered("0", None)]) == {}
