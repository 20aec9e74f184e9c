"""Intervals and comparisons of a bench, against the plain statistics of one category."""

import numpy as np
import pytest

from vlad.evaluation.certainty import Certainty
from vlad.metrics import auroc, delong, holm, mean_difference


def rows(head, effect, categories=("a",), seeds=(0,), k_shot=1, n=60, data="set", kept=slice(None)):
    """Scores of the same images for every head; a head's noise is its own."""
    found = []
    for category in categories:
        labels = np.arange(n) % 2
        image = np.random.default_rng(len(category) + ord(category[0])).normal(size=n)
        for seed in seeds:
            noise = np.random.default_rng([seed, *map(ord, head + category)]).normal(size=n)
            scores = (labels * effect + image + 0.5 * noise)[kept]
            found.append(
                {
                    "data": data, "category": category, "head": head, "k_shot": k_shot,
                    "seed": seed, "ids": [f"{i}" for i in range(n)][kept],
                    "labels": labels[kept].tolist(), "scores": scores.tolist(),
                    "metric.image_auroc": auroc(scores, labels[kept]) if kept.step != 2 else None,
                }
            )  # fmt: skip
    return found


def width(rows, metric="image_auroc"):
    found = Certainty().interval(rows, metric)
    return found.high - found.low


def test_intervals_are_around_the_mean_and_shrink_with_categories():
    one, four = rows("x", 1.0, "a"), rows("x", 1.0, "abcd")
    found = Certainty().interval(four, "image_auroc")
    assert found.low < np.mean([r["metric.image_auroc"] for r in four]) < found.high
    assert width(four) == pytest.approx(width(one) / 2, rel=0.3)
    # sets count alike, however many categories they have
    both = [*four, *rows("x", 1.0, "a", data="other")]
    expected = np.hypot(width(four), width(one)) / 2
    assert width(both) == pytest.approx(expected, rel=0.2)
    # seeds see the same images, so more of them make no sets more certain
    assert width(rows("x", 1.0, "a", seeds=range(6))) > 0.7 * width(one)
    assert width(one, "image_ap") > 0 and width(one, "image_f1_max") > 0


def test_no_interval():
    one = rows("x", 1.0)
    assert Certainty().interval(one, "aupro") is None
    old = [{name: value for name, value in row.items() if name != "scores"} for row in one]
    assert Certainty().interval([*one, *old], "image_auroc") is None
    defects = rows("x", 1.0, "b", kept=slice(1, None, 2))
    assert Certainty().interval(defects, "image_auroc") is None
    # as in the means, a category of one class is passed over
    assert width([*one, *defects]) == width(one)


def test_an_interval_without_width_is_noted():
    certainty = Certainty()
    certainty.interval(rows("x", 1.0), "image_auroc")
    assert not certainty.flat
    certainty.interval(rows("x", 100.0), "image_auroc")
    assert certainty.flat


def test_heads_are_compared_with_the_best_of_as_many_shots():
    good, fair, poor = rows("good", 2.0), rows("fair", 1.0), rows("poor", 0.0)
    more, alone = rows("good", 3.0, k_shot=4), rows("poor", 0.2, k_shot=0)
    heads = {(r[0]["head"], r[0]["k_shot"]): r for r in (poor, good, fair, more, alone)}
    found = Certainty().against_best(heads)
    assert set(found) == {("good", 1), ("fair", 1), ("poor", 1)}
    assert found["good", 1] is None
    labels, best = good[0]["labels"], good[0]["scores"]
    plain = [delong(r[0]["scores"], best, labels) for r in (poor, fair)]
    corrected = holm([one.p for one in plain])
    for key, one, p in zip((("poor", 1), ("fair", 1)), plain, corrected, strict=True):
        assert (found[key].value, found[key].error) == (one.value, one.error)
        assert found[key].p == p
    assert found["poor", 1].p > plain[0].p


def test_comparisons_average_over_seeds_categories_and_sets():
    good = [*rows("good", 2.0, "ab", (0, 1)), *rows("good", 2.0, "c", (0, 1), data="other")]
    fair = [*rows("fair", 1.5, "ab", (0, 1)), *rows("fair", 1.5, "c", (0, 1), data="other")]
    found = Certainty().against_best({("good", 1): good, ("fair", 1): fair})["fair", 1]
    means = [np.mean([np.mean([r["metric.image_auroc"] for r in part]) for part in
             (of[:4], of[4:])]) for of in (fair, good)]  # fmt: skip
    assert found.value == pytest.approx(means[0] - means[1])
    parts = [
        delong([r["scores"] for r in fair[i : i + 2]], [r["scores"] for r in good[i : i + 2]],
               fair[i]["labels"]) for i in (0, 2, 4)
    ]  # fmt: skip
    plain = mean_difference([mean_difference(parts[:2]), parts[2]])
    assert (found.error, found.p) == pytest.approx((plain.error, plain.p))


def test_only_images_that_both_scored_are_compared():
    good, fair = rows("good", 2.0), rows("fair", 1.0, kept=slice(3, None))
    found = Certainty().against_best({("good", 1): good, ("fair", 1): fair})["fair", 1]
    plain = delong(fair[0]["scores"], good[0]["scores"][3:], fair[0]["labels"])
    assert (found.value, found.p) == (plain.value, plain.p)


def test_what_cannot_be_compared():
    good, fair = rows("good", 2.0), rows("fair", 1.0)
    del fair[0]["scores"]
    assert Certainty().against_best({("good", 1): good, ("fair", 1): fair}) == {}
    few = {(head, 1): rows(head, 1.0, kept=slice(0, 3)) for head in ("good", "fair")}
    assert Certainty().against_best(few) == {}
    assert Certainty().against_best({("good", 1): good}) == {}
