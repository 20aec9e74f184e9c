"""Copies of what a head remembers set no threshold, whatever they are called or saved as."""

import io
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import vlad
from vlad.calibration.copies import find_copies, keep_others, mark
from vlad.cli import main
from vlad.errors import InputError


def draw(seed):
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:216, 0:288]
    phase, pace = random.uniform(0, 6), random.uniform(18, 36)
    waves = np.stack([np.sin(x / pace + phase + c) * np.cos(y / 27 + phase) for c in range(3)], -1)
    pixels = 128 + 60 * waves + random.normal(0, 4, (216, 288, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def jpeg(image, quality=80):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def noisy(image):
    noise = np.random.default_rng(0).normal(0, 2, (*image.size[::-1], 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


AGAIN = {"same": Image.Image.copy, "jpeg": jpeg, "burst": noisy}


@pytest.mark.parametrize("again", AGAIN.values(), ids=AGAIN)
def test_copies_are_found_and_others_of_the_series_are_not(again):
    images = [draw(i) for i in range(12)]
    marks = [mark(image) for image in images]
    assert not find_copies(marks[:6], marks[6:]).any()
    copies = [mark(again(image)) for image in images]
    assert find_copies(marks[:6], copies[:6] + marks[6:]).tolist() == [True] * 6 + [False] * 6
    # among those held out the first one counts
    assert find_copies([], marks[:3] + copies[:3]).tolist() == [False] * 3 + [True] * 3


def test_images_that_all_differ_by_little_are_no_copies():
    """A fixed camera over one part: noise is all that differs, and each image says something."""
    part = draw(0)
    random = np.random.default_rng(1)
    frames = [
        Image.fromarray(
            (np.asarray(part) + random.normal(0, 4, (216, 288, 3))).clip(0, 255).astype(np.uint8)
        )
        for _ in range(20)
    ]
    assert not find_copies([mark(x) for x in frames[:10]], [mark(x) for x in frames[10:]]).any()


def test_many_images_are_compared_in_parts(monkeypatch):
    marks = [mark(draw(i)) for i in range(12)]
    others = [*marks[:2], *marks[4:], None, *marks[8:]]
    whole = find_copies(marks[:4], others)
    assert whole.tolist() == [True] * 2 + [False] * 9 + [True] * 4
    monkeypatch.setattr("vlad.calibration.copies.PAIRS", 50)
    assert find_copies(marks[:4], others).tolist() == whole.tolist()


def test_what_has_no_mark_is_no_copy():
    one = mark(draw(0))
    assert find_copies([one, None], [None, one]).tolist() == [False, True]
    assert find_copies([one], []).tolist() == []


def test_too_few_others_is_one_sentence():
    copied = np.array([True, True, False, False])
    kept, notes = keep_others(list("abcd"), copied, 0.4)
    assert kept == [2, 3] and notes == [
        "2 of 4 held-out images are copies of reference images or of each other (a, b) and set no "
        "threshold."
    ]
    with pytest.raises(InputError, match=r"\(a, b\), and the 2 others cannot hold .* at least 3"):
        keep_others(list("abcd"), copied, 0.25)
    assert keep_others(list("abcd"), ~copied & copied, 0.4) == ([0, 1, 2, 3], [])


@pytest.fixture(scope="module")
def made(small_file):
    def make(**options):
        return vlad.load("memory", backbone=str(small_file), device="cpu", **options)

    return make


def test_python_leaves_them_out_with_a_warning(made, tmp_path):
    images = [draw(i) for i in range(12)]
    alone = made().fit(images[:4]).calibrate(images[4:], 0.2)
    with pytest.warns(UserWarning, match=r"3 of 11 held-out images are copies .*image 8, image 9"):
        found = made().fit(images[:4]).calibrate([*images[4:], *map(jpeg, images[:3])], 0.2)
    assert found.calibration_.thresholds == alone.calibration_.thresholds
    assert found.calibration_.names == [f"image {i}" for i in range(8)]
    for fitted in (
        made().fit(images),
        made().partial_fit(images[:6]).partial_fit(images[6:]),
        vlad.Detector.load(made().fit(images).save(tmp_path / "saved")),
    ):
        with pytest.raises(InputError, match="12 of 12 held-out images are copies"):
            fitted.calibrate(images, 0.2)
    # what was forgotten is no reference
    found.fit(images[8:]).calibrate(images[:8], 0.2)


@pytest.fixture
def run(small_file):
    def run(verb, *args):
        backbone = [] if verb == "calibrate" else ["--backbone", str(small_file)]
        return CliRunner().invoke(main, [verb, *map(str, args), *backbone])

    return run


@pytest.fixture
def burst(tmp_path):
    """Four images, each six times."""
    for i in range(4):
        for k in range(6):
            (tmp_path / "burst").mkdir(exist_ok=True)
            draw(i).save(tmp_path / "burst" / f"{i}_{k}.png")
    return tmp_path / "burst"


@pytest.mark.parametrize("verb", ["fit", "score", "watch"])
def test_commands_stop_where_nothing_but_copies_is_left(run, burst, tmp_path, verb):
    options = ["--false-alarms", 0.1, "--k-shot", 10, "--out", tmp_path / "out"]
    if verb == "fit":
        done = run("fit", burst, *options)
    else:
        done = run(verb, burst, "--normal", burst, "--threshold", "auto", *options)
    assert done.exit_code == 2, done.output
    assert "14 of 14 held-out images are copies of reference images" in done.stderr
    assert not (tmp_path / "out").exists()


def test_score_and_calibrate_leave_them_out_and_say_so(run, tmp_path):
    good = tmp_path / "good"
    good.mkdir()
    for i in range(12):
        draw(i).save(good / f"{i:02}.png")
    more = tmp_path / "more"
    shutil.copytree(good, more)
    jpeg(draw(0)).save(more / "again.png")
    out = tmp_path / "out"
    fit = ["--k-shot", 4, "--false-alarms", 0.2]
    auto = ["--normal", good, "--threshold", "auto", *fit]
    assert run("score", good, *auto, "--out", out).exit_code == 0
    references = vlad.system.resources.read_json(out / "run.json")["references"]
    normals = [x for path in references for x in ("--normal", path)]
    done = run("score", more, *normals, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    done = run("calibrate", tmp_path / "run", "--false-alarms", 0.2, "--out", tmp_path / "c.json")
    assert done.exit_code == 0, done.output
    assert "5 of 13 held-out images are copies" in done.output
    assert "from 8 normal images" in done.output
    own = vlad.calibration.load_calibration(out / "calibration.json")
    other = vlad.calibration.load_calibration(tmp_path / "c.json")
    assert other.thresholds["memory"] == pytest.approx(own.thresholds["memory"], abs=1e-6)
