"""What a detector learns from labels, and what it must not be judged by."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import vlad
from vlad.errors import HeadError, InputError
from vlad.review.applied import apply_labels
from vlad.review.files import find_files

GOOD, STAINED = [f"g{i}" for i in range(9, 24)], [f"s{i}" for i in range(12)]
pytestmark = pytest.mark.filterwarnings("ignore:Head labelled was shown no known defects")


@pytest.fixture
def applied(label):
    def apply(detector, names, folders=()):
        return apply_labels(detector, find_files([label(name) for name in names], []), folders)

    return apply


def roles(done):
    """Name -> what became of it."""
    return {x.reviewed.file.stem: x.role for x in done.outcomes}


def test_good_images_become_references_but_for_those_set_aside(fitted, applied, parts, is_aside):
    detector = fitted()
    before = detector.calibration_
    done = applied(detector, GOOD + STAINED)
    learned = [name for name in GOOD if not is_aside(name)]
    assert 0 < len(learned) < len(GOOD)
    assert list(detector.learned_) == [str(parts[name]) for name in ["g0", "g1", *learned]]
    assert roles(done) == {
        **{name: "reference image" if name in learned else "set aside" for name in GOOD},
        **dict.fromkeys(STAINED, "set aside"),  # this head learns no defects
    }
    # as if it had been fitted on all of them at once, and calibrated on the others
    kept = [parts[f"g{i}"] for i in range(2, 9)]
    kept += [parts[name] for name in GOOD if is_aside(name)]
    whole = vlad.Detector(**detector.get_params()).fit([*map(str, detector.learned_)])
    whole.calibrate(kept, 0.25)
    assert detector.calibration_.names == whole.calibration_.names
    assert detector.calibration_.thresholds == pytest.approx(whole.calibration_.thresholds)
    assert (done.before, done.after) == (before, detector.calibration_)
    expected = whole.score([parts[name] for name in STAINED]).image_score
    np.testing.assert_allclose(done.after.defects["memory"], expected, rtol=1e-5)


def test_scores_and_verdicts_are_those_of_the_detectors(fitted, applied, parts):
    before, detector = fitted(), fitted()
    done = applied(detector, GOOD + STAINED)
    files = [parts[name] for name in GOOD + STAINED]
    for time, one in enumerate((before, detector)):
        found = one.predict(files)
        assert [x.scores[time] for x in done.outcomes] == pytest.approx(found.image_score.tolist())
        assert [x.anomalous[time] for x in done.outcomes] == found.anomalous.tolist()


def test_defects_become_known_ones_but_for_those_set_aside(
    fitted, label, parts, is_aside, tmp_path
):
    detector = fitted("labelled")
    labels = [label("s0", kind="stain"), *(label(name) for name in STAINED[1:])]
    done = apply_labels(detector, find_files(labels, []))
    learned = [name for name in STAINED if not is_aside(name)]
    assert 0 < len(learned) < len(STAINED)
    assert {k for k, v in roles(done).items() if v == "known defect"} == set(learned)
    assert detector.head_.known == ["defect", *["stain"] * ("s0" in learned)]
    assert all(x.scores[1] > x.scores[0] for x in done.of("known defect"))
    assert len(done.after.defects["labelled"]) == len(STAINED) - len(learned)
    again = vlad.Detector.load(detector.save(tmp_path / "saved"))
    assert set(roles(apply_labels(again, find_files(labels, []))).values()) == {
        *("learned before", "set aside")
    }


def test_labels_that_were_applied_change_nothing_again(fitted, applied):
    detector = fitted()
    applied(detector, GOOD)
    memory, threshold = dict(detector.head_.memory_), detector.calibration_.thresholds
    done = applied(detector, GOOD)
    assert set(roles(done).values()) == {"learned before", "held out before"}
    assert all(detector.head_.memory_[name].equal(x) for name, x in memory.items())
    assert detector.calibration_.thresholds == pytest.approx(threshold)


def test_a_held_out_image_with_a_defect_sets_no_threshold(fitted, label, parts):
    detector = fitted()
    done = apply_labels(detector, find_files([label("g3", "defective"), label("g4")], []))
    assert done.taken_out == [str(parts["g3"])]
    assert roles(done) == {"g3": "held out before", "g4": "held out before"}
    assert detector.calibration_.names == [str(parts[f"g{i}"]) for i in (2, 4, 5, 6, 7, 8)]
    assert len(done.after.defects["memory"]) == 1


@pytest.mark.parametrize(
    ("head", "name", "word", "says"),
    [
        ("memory", "g1", "defective", "is labelled defective, .* as a reference image; fit it"),
        ("labelled", "s0", "good", "is labelled good, .* as a known defect; fit it again"),
    ],
)
def test_a_label_against_what_was_learned_is_refused(fitted, label, parts, head, name, word, says):
    detector = fitted(head)
    if head == "labelled":
        calibration = detector.calibration_
        detector.learn_defects(parts["s0"], ["stain"])
        detector.calibration_ = calibration
    with pytest.raises(InputError, match=says):
        apply_labels(detector, find_files([label(name, word)], []))


def copy(parts, name, wanted):
    """A frame that differs by noise, whose digest is one that is wanted."""
    parts["copy"] = parts["g0"].with_name("copy.png")
    for seed in range(100):
        random = np.random.default_rng(seed)
        pixels = np.asarray(Image.open(parts[name])) + random.integers(-1, 2, (64, 64, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(parts["copy"])
        if wanted("copy"):
            return


def test_copies_of_images_that_are_learned_are_not_counted(fitted, label, parts, is_aside):
    """They land on the other side by their digest, and tell nothing."""
    learned = next(name for name in STAINED if not is_aside(name))
    copy(parts, learned, is_aside)
    labels = [label("copy", "defective"), *(label(name) for name in STAINED)]
    done = apply_labels(fitted("labelled"), find_files(labels, []))
    assert roles(done)["copy"] == "copy"
    assert len(done.after.defects["labelled"]) == sum(map(is_aside, STAINED))


def test_copies_of_images_that_were_learned_before_set_no_threshold(fitted, label, parts, is_aside):
    copy(parts, "g0", is_aside)
    detector = fitted()
    done = apply_labels(detector, find_files([label("copy", "good")], []))
    assert roles(done) == {"copy": "copy"}
    assert str(parts["copy"]) not in detector.calibration_.names


def test_a_defect_whose_file_has_another_content_now_stays_a_known_defect(fitted, label, parts):
    detector = fitted("labelled")
    calibration = detector.calibration_
    for name in ("s0", "s1"):  # one file after the other under the same path
        parts["frame"] = parts["g0"].with_name("frame.png")
        parts["frame"].write_bytes(parts[name].read_bytes())
        detector.learn_defects(parts["frame"], ["stain"])
    detector.calibration_ = calibration
    done = apply_labels(detector, find_files([label("s1"), label("s0")], []))
    assert set(roles(done).values()) == {"learned before"}
    detector.calibration_ = calibration
    with pytest.raises(InputError, match="as a known defect; fit it again"):
        apply_labels(detector, find_files([label("s1", "good")], []))


@pytest.mark.parametrize("part", [1e-4, 1e-2])
def test_scores_of_another_machine_are_the_same_but_those_of_another_image_are_not(
    fitted, applied, part
):
    detector = fitted()
    known = detector.calibration_.reference["memory"] * (1 + part)
    detector.calibration_ = replace(detector.calibration_, reference={"memory": known})
    if part < 1e-3:
        assert applied(detector, GOOD).outcomes
    else:
        with pytest.raises(InputError, match="have other scores now"):
            applied(detector, GOOD)


def test_held_out_images_that_are_gone_or_changed_are_named(fitted, applied, parts, tmp_path):
    detector = fitted()
    moved = parts["g5"].rename(tmp_path / "g5.png")
    says = r"1 of 7 held-out images that set the threshold are not found: g5\.png; give their"
    with pytest.raises(InputError, match=says):
        applied(detector, GOOD)
    assert len(applied(detector, GOOD, [tmp_path]).outcomes) == len(GOOD)
    parts["s0"].rename(moved)
    says = r"1 of \d+ held-out images .* have other scores now: g5\.png; put the images back"
    with pytest.raises(InputError, match=says):
        applied(detector, GOOD, [tmp_path])


def test_images_in_memory_cannot_be_scored_again(small_file, parts, applied):
    images = [Image.open(parts[f"g{i}"]).copy() for i in range(9)]
    detector = vlad.load("memory", backbone=str(small_file), device="cpu").fit(images[:2])
    detector.calibrate(images[2:], 0.25)
    with pytest.raises(InputError, match=r"7 of 7 held-out images .* are not found"):
        applied(detector, GOOD)


@pytest.mark.parametrize(("rate", "enough"), [(0.05, False), (0.5, True)])
def test_without_a_threshold_labels_set_one_if_enough_are_set_aside(
    small_file, parts, applied, monkeypatch, rate, enough
):
    monkeypatch.setattr("vlad.review.applied.FALSE_ALARMS", rate)
    detector = vlad.load("memory", backbone=str(small_file), device="cpu").fit(parts["g0"])
    done = applied(detector, GOOD + STAINED)
    assert (done.before, done.after is not None) == (None, enough)
    assert {x.anomalous[0] for x in done.outcomes} == {None}
    assert {x.anomalous[1] is not None for x in done.outcomes} == {enough}
    assert len(detector.learned_) > 1


def test_a_head_that_cannot_add_images_says_so(small_file, parts, applied):
    detector = vlad.load("dfr", backbone=str(small_file), device="cpu", epochs=1)
    detector.fit([parts[f"g{i}"] for i in range(4)])
    with pytest.raises(HeadError, match="dfr cannot add to what it learned; call `fit` with all"):
        applied(detector, GOOD)
