"""Several heads as one, from their p-values."""

import numpy as np
import pytest
from scipy.stats import combine_pvalues

from vlad.calibration import from_labels, from_normals
from vlad.calibration.fusion import METHODS, fuse, own_tail, tail
from vlad.errors import InputError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_each_reference_image_is_compared_with_the_others(rng):
    drawn = rng.normal(size=40)
    for reference in (drawn, drawn.round(1), drawn.round(0), np.ones(5), np.array([1.0, 2, 2, 2])):
        others = [np.delete(reference, i) for i in range(len(reference))]
        plain = [tail(reference[i : i + 1], known, 0.7)[0] for i, known in enumerate(others)]
        assert own_tail(reference, 0.7) == pytest.approx(plain, abs=1e-12)


def test_tail_runs_between_the_ranks_and_on_beyond_them(rng):
    reference = rng.normal(size=30)
    scores = np.sort(np.concatenate([rng.normal(size=200), [-50, 50, 500, 5000]]))
    p = tail(scores, reference, 1.0)
    assert (np.diff(p) < 0).all() and (p > 0).all() and (p < 1).all()
    above = (reference >= scores[:, None]).sum(axis=1)
    assert (p >= above / 31 - 1 / 31 - 1e-12).all() and (p <= (above + 1) / 31 + 1e-12).all()


def test_methods_are_those_of_scipy():
    p = np.random.default_rng(1).uniform(1e-9, 1, (50, 3))
    for row, fisher, stouffer, harmonic in zip(
        p, *(METHODS[name](np.log(p)) for name in ("fisher", "stouffer", "harmonic")), strict=True
    ):
        assert 2 * 3 * fisher == pytest.approx(combine_pvalues(row, "fisher").statistic)
        assert stouffer == pytest.approx(combine_pvalues(row, "stouffer").statistic)
        assert np.exp(-harmonic) == pytest.approx(3 / (1 / row).sum())


@pytest.mark.parametrize("method", METHODS)
def test_scales_orders_and_heads_do_not_matter(method, rng):
    reference, scores = rng.normal(size=(40, 3)), rng.normal(1, 2, size=(20, 3))
    found = fuse(scores, reference, method)
    scaled = [1000, 1e-4, 3] * scores - 7, [1000, 1e-4, 3] * reference - 7
    assert fuse(*scaled, method) == pytest.approx(found, rel=1e-6)
    shuffled = rng.permutation(reference)
    assert fuse(scores, shuffled, method) == pytest.approx(found)
    assert fuse(scores[:, ::-1], reference[:, ::-1], method) == pytest.approx(found)
    higher = scores.copy()
    higher[:, 1] += 0.5
    assert (fuse(higher, reference, method) > found).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_rate_holds_for_heads_that_depend_on_each_other(method, rng):
    alarms = []
    for _ in range(1000):
        shared = rng.normal(size=(60, 1))
        scores = np.exp(shared + 0.5 * rng.normal(size=(60, 3)))
        known, new = (
            {h: part[:, i] for i, h in enumerate("abc")} for part in (scores[20:], scores[:20])
        )
        found = from_normals(known, false_alarms=0.1, method=method).decide(new)
        alarms += found["fused"].anomalous.tolist()
    assert 0.07 < np.mean(alarms) < 0.105


def test_heads_that_see_different_defects_find_more_together(rng):
    normal, defects = rng.normal(size=(200, 2)), rng.normal(size=(200, 2))
    defects[:100, 0] += 4
    defects[100:, 1] += 4
    scores = [{"a": x[:, 0], "b": 1000 * x[:, 1]} for x in (normal, defects)]
    found = from_normals(scores[0], method="harmonic").decide(scores[1])
    share = {name: verdicts.anomalous.mean() for name, verdicts in found.items()}
    assert share["fused"] > 0.85
    assert max(share["a"], share["b"]) < 0.6
    both = {h: np.concatenate([scores[0][h], scores[1][h]]) for h in "ab"}
    labelled = from_labels(both, np.repeat([0, 1], 200), method="harmonic")
    assert labelled.decide(scores[1])["fused"].anomalous.mean() > 0.85


def test_what_cannot_be_fused():
    with pytest.raises(InputError, match="unknown fusion method 'mean'"):
        fuse(np.zeros((3, 2)), np.zeros((3, 2)), "mean")
    with pytest.raises(InputError, match="is the only one"):
        from_normals({"a": np.arange(30.0)}, method="fisher")
