"""Frame AUROC and AP of videos, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from vlad.errors import InputError
from vlad.metrics import frame_metrics


@pytest.fixture
def videos():
    """Five videos at levels of their own; one is normal throughout, one anomalous."""
    generator = np.random.default_rng(0)
    labels = [generator.random(60) < share for share in (0.3, 0.5, 0.2)]
    labels += [np.zeros(30, bool), np.ones(10, bool)]
    levels = [3 * generator.random() for _ in labels]
    scores = [
        np.round(level + one + generator.normal(0, 1, len(one)), 1)
        for level, one in zip(levels, labels, strict=True)
    ]
    return scores, labels


def test_micro_and_macro_equal_scikit_learn(videos):
    scores, labels = videos
    found = frame_metrics(scores, labels)
    every, truth = np.concatenate(scores), np.concatenate(labels)
    assert found.micro == pytest.approx(roc_auc_score(truth, every))
    assert found.ap == pytest.approx(average_precision_score(truth, every))
    single = [roc_auc_score(labels[i], scores[i]) for i in range(3)]
    assert found.macro == pytest.approx(np.mean(single))
    assert (found.videos, found.one_class) == (3, 2)


def test_scaling_each_video_changes_micro_alone():
    # two videos of the same shape at other levels
    labels = [[0, 0, 1, 1]] * 2
    plain = frame_metrics([[1, 2, 3, 4], [11, 12, 13, 14]], labels)
    scaled = frame_metrics([[1, 2, 3, 4], [11, 12, 13, 14]], labels, per_video=True)
    assert plain.macro == scaled.macro == 1
    assert plain.micro == 0.75 and scaled.micro == 1


def test_a_level_video_scales_to_its_lowest_score():
    found = frame_metrics([[5, 5], [0, 1]], [[0, 0], [0, 1]], per_video=True)
    assert found.micro == 1


def test_one_class_is_no_figure():
    found = frame_metrics([[1, 2]], [[0, 0]])
    assert np.isnan([found.micro, found.macro, found.ap]).all() and found.one_class == 1


@pytest.mark.parametrize(
    "scores, labels, says",
    [
        ([], [], "scores of 0 videos"),
        ([[1]], [], "labels of 0"),
        ([[1, 2]], [[1]], "give the same shape"),
        ([[np.nan]], [[1]], "NaN"),
    ],
)
def test_what_cannot_be_measured_is_said(scores, labels, says):
    with pytest.raises(InputError, match=says):
        frame_metrics(scores, labels)
