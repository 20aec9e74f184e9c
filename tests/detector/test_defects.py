"""Defects without masks that a detector learns."""

import numpy as np
import pytest

import vlad
from vlad.errors import HeadError, InputError


@pytest.fixture
def labelled(small_file, drawn):
    made = vlad.load("labelled", backbone=str(small_file), device="cpu", layers=(1, 3))
    return made.fit(drawn[:2])


@pytest.mark.filterwarnings("ignore:Head labelled was shown no known defects")
@pytest.mark.parametrize("tile", [None, 32])
def test_a_learned_defect_scores_higher_and_has_its_kind(small_file, drawn, tile):
    options = {"backbone": str(small_file), "device": "cpu", "layers": (1, 3)}
    found = vlad.load("labelled", **options, tile=tile).fit(drawn[:2])
    before = found.score(drawn).image_score
    found.learn_defects([drawn[3]], ["dent"]).learn_defects([drawn[4]], ["scratch"])
    after = found.score(drawn)
    assert (after.image_score[3:5] > before[3:5] * 1.2).all()
    np.testing.assert_allclose(after.image_score[:2], before[:2], atol=1e-5)
    assert after.kind[3:5].tolist() == ["dent", "scratch"]


def test_the_order_of_calls_changes_nothing(labelled, drawn, tmp_path):
    saved = labelled.save(tmp_path)
    labelled.learn_defects([drawn[3]], ["dent"]).partial_fit([drawn[2]])
    other = vlad.Detector.load(saved)
    other.learn_defects([drawn[3]], ["dent"])
    assert set(labelled.learned_) > set(other.learned_)
    whole = vlad.Detector.load(saved).partial_fit([drawn[2]])
    whole.head_.memory_ = {
        **whole.head_.memory_,
        **{name: x for name, x in other.head_.memory_.items() if ":" in name},
    }
    np.testing.assert_array_equal(whole.score(drawn).image_score, labelled.score(drawn).image_score)


def test_what_was_learned_is_named_and_the_threshold_dropped(labelled, drawn, images):
    with pytest.warns(UserWarning):
        labelled.calibrate(drawn[2:4], 0.5)
    labelled.learn_defects(images / "3.png", ["dent"])
    path = str(images / "3.png")
    assert list(labelled.learned_)[2:] == [path, f"{path} (marked)"]
    assert not hasattr(labelled, "calibration_")
    labelled.learn_defects(images / "3.png", ["scratch"])  # the kind belongs to what it learned
    assert len(labelled.learned_) == 5
    assert sum(name.endswith(" (marked)") for name in labelled.learned_) == 2


def test_what_it_refuses(labelled, detector, drawn):
    with pytest.raises(InputError, match="1 kind for 2 images; give one of each"):
        labelled.learn_defects(drawn[:2], ["dent"])
    with pytest.raises(HeadError, match="No head here learns known defects"):
        detector.learn_defects(drawn[:1], ["dent"])
