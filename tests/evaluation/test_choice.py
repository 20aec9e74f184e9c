"""A choice follows known scores: clear, within the noise, or not made at all."""

import numpy as np
import pytest

from vlad.evaluation.choice import CANDIDATES, LEAST_DEFECTS, candidates, choose
from vlad.evaluation.leave_out import LeftOut
from vlad.heads import load_head
from vlad.images.normals import ITSELF

RANDOM = np.random.default_rng(0)
NORMAL, DEFECTS, PARTS = RANDOM.normal(size=40), RANDOM.normal(size=12), RANDOM.normal(size=20)


def scores(shift, seconds=0.1, defects=DEFECTS, noise=0.0, seed=1):
    """Scores that put defects `shift` above normal images."""
    draw = np.random.default_rng(seed).normal(size=40 + len(defects)) * noise
    return LeftOut(NORMAL + draw[:40], NORMAL + 1, defects + shift + draw[40:], PARTS, seconds)


def test_a_head_that_is_clearly_better_is_picked_wherever_it_stands():
    found = choose({"memory": scores(0), "padim": scores(9), "mvg": scores(0.4)})
    assert found.pick == "padim" and found.level == ["padim"]
    assert [row.head for row in found.rows] == ["padim", "mvg", "memory"]
    assert found.rows[0].auroc == 1 and found.rows[0].found == 1
    assert found.margin.value == pytest.approx(1 - found.rows[1].auroc)
    assert found.margin.p < 0.05 and found.span.low > 0


def test_within_the_noise_the_highest_is_picked_and_the_level_ones_are_told():
    close = {"memory": scores(1, noise=0.2), "padim": scores(1.02, 0.01)}
    found = choose(close)
    assert found.rows[0].head == "padim" and found.margin.p > 0.05
    assert found.span.low < 0 < found.span.high
    assert set(found.level) == {"memory", "padim"} and found.pick == "padim"


def test_fewer_defects_pick_nothing():
    few = DEFECTS[: LEAST_DEFECTS - 1]
    found = choose({"memory": scores(9, defects=few), "padim": scores(0, defects=few)})
    assert found.pick is None and found.margin is None and not found.level
    assert [row.head for row in found.rows] == ["memory", "padim"]
    assert all(row.auroc is None and row.interval is None for row in found.rows)
    assert found.rows[0].found == 1
    none = choose(
        {"memory": scores(0, defects=DEFECTS[:0]), "padim": scores(0, defects=DEFECTS[:0])}
    )
    assert none.rows[0].found is None
    enough = DEFECTS[:LEAST_DEFECTS]
    assert choose({"a": scores(9, defects=enough), "b": scores(0, defects=enough)}).pick == "a"


def test_thresholds_hold_the_rate_that_the_images_allow():
    found = choose({"memory": scores(0), "padim": scores(0)})
    assert found.rate == 0.05
    # 40 normal images allow one above a threshold that holds 5 %
    threshold = np.sort(NORMAL)[-2]
    assert found.rows[0].flagged == (threshold < PARTS).mean()
    assert found.rows[0].found == (threshold < DEFECTS).mean()
    four = LeftOut(NORMAL[:4], NORMAL, DEFECTS, PARTS, 0.1)
    assert choose({"memory": four, "padim": four}).rate == pytest.approx(1 / 5)


def test_perfect_scores_are_no_certainty():
    """Of 12 defects all above 40 normal images: the chance of a pair lies above 0.025^(1/12)."""
    row = choose({"memory": scores(99), "padim": scores(0)}).rows[0]
    assert (row.auroc, row.interval.high) == (1, 1)
    assert row.interval.low == pytest.approx(0.025 ** (1 / 12))


def test_a_copy_of_a_head_agrees_fully_and_is_level():
    found = choose({"memory": scores(1), "padim": scores(1)})
    assert found.rows[0].agreement == pytest.approx(1)
    assert found.margin.value == 0 and found.pick == "memory"


def test_an_odd_normal_image_is_told():
    odd = NORMAL.copy()
    odd[3] = 50
    row, usual = (
        choose({"memory": LeftOut(x, NORMAL, DEFECTS, PARTS, 0.1), "padim": scores(0)}).rows[-1]
        for x in (odd, NORMAL)
    )
    assert row.strangest > 30 > 5 > usual.strangest


@pytest.mark.parametrize("words", [True, False])
def test_candidates_are_four_that_take_normal_images_in_one_pass(words):
    names = candidates(words)
    assert len(set(names)) == 4 and names[:3] == CANDIDATES
    for name in names:
        head = load_head(name)
        assert head.normals != "unused" and not head.transductive
        assert head.normal_views == ITSELF
        assert bool(head.bank) == (words and name == "winclip")
