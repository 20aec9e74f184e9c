"""What scores cannot tell is said, instead of a confident number."""

import numpy as np
import pytest

from vlad.calibration import from_normals, from_unlabelled
from vlad.calibration.contamination import two_groups
from vlad.results.folder import RunFolder
from vlad.results.rows import Row
from vlad.results.verdicts import Rules, judge, summary
from vlad.types import Sample


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def judged(tmp_path):
    """Scores of N images -> their verdicts."""

    def judged(scores, **rules):
        folder = RunFolder(tmp_path / "run", {"memory": (0.0, 9.0)}, {}, "none").create(True)
        folder.append([Row(f"{i}.png", {"memory": float(x)}) for i, x in enumerate(scores)])
        samples = [Sample(f"{i}.png", str(i)) for i in range(len(scores))]
        return judge(folder, samples, Rules(**rules))

    return judged


def test_a_share_of_none_without_any_doubt_is_not_believed(rng, judged):
    mostly_bad = np.concatenate([rng.normal(0, 1, 14), rng.normal(3, 1, 40)])
    found = judged(mostly_bad)
    assert found.calibration.share["high"] < 0.005
    assert all(found.columns["memory_abstain"].values())
    said = summary(found)
    assert "could not tell" in said and "0% (0% to 0%)" not in said
    assert "54 unsure" in said


def test_a_share_with_its_doubt_is_told_with_what_it_assumes(rng, judged):
    some_bad = np.concatenate([rng.normal(0, 1, 180), rng.normal(7, 1, 20)])
    found = judged(some_bad)
    assert not any(found.columns["memory_abstain"].values())
    said = summary(found)
    assert "could not tell" not in said and "Estimated share of anomalous images: " in said
    assert "Assumed: most of these images are good. No false-alarm rate is promised." in said
    assert "two large groups" not in said


def test_two_large_groups_are_told(rng):
    scores = np.concatenate([rng.normal(0, 1, 14), rng.normal(8, 1, 40)])
    notes = from_unlabelled({"memory": scores}).notes
    assert any("memory form two large groups, 14 lower and 40 higher" in note for note in notes)
    assert two_groups(3 * scores[::-1] - 7) == (14, 40)
    # one group, also with a long tail, a few far ones, or the same score everywhere
    for one in (rng.normal(size=200), rng.lognormal(size=200), np.ones(20)):
        assert two_groups(one) is None
    assert two_groups(np.concatenate([rng.normal(0, 1, 90), rng.normal(9, 1, 10)])) is None


def test_scores_like_those_of_the_normal_images_are_told(rng, judged):
    calibration = from_normals({"memory": rng.normal(size=100)})
    said = "do not differ"
    assert said in summary(judged(rng.normal(size=100).clip(max=1.5), calibration=calibration))
    # half of them stand apart, or a few do
    for bad in (50, 10):
        scores = np.concatenate([rng.normal(size=100 - bad), rng.normal(6, 1, bad)])
        assert said not in summary(judged(scores, calibration=calibration))
    # other light moves all of them, and only part of them beyond the threshold
    moved = (rng.normal(size=100) + 1).clip(max=1.5)
    assert said not in summary(judged(moved, calibration=calibration))
    # too few to say anything
    assert said not in summary(judged(np.zeros(5), calibration=calibration))
