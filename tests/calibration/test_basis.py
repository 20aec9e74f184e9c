"""What a threshold rests on: the image that sets it, and what leaving out suspects promises."""

import threading

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import vlad
from vlad.calibration import from_normals
from vlad.cli import main
from vlad.errors import InputError

NAMES = [f"good/{i:02}.png" for i in range(30)]


@pytest.fixture
def scores():
    """Of 30 normal images; number 7 is odd."""
    found = np.random.default_rng(0).normal(1, 0.1, 30)
    found[7] = 3.0
    return found


def without(scores, *places):
    return from_normals({"memory": np.delete(scores, places)}).thresholds["memory"]


def test_the_image_that_sets_the_threshold_is_named(scores):
    said = from_normals({"memory": scores}, names=NAMES).basis("memory")
    assert f"is the score of 07.png; without it, it would be {without(scores, 7):.6g}." in said
    assert "07.png is far from the others" in said and "--suspects 1" in said
    scores[7] = 1.0
    found = from_normals({"memory": scores}, names=NAMES)
    highest = int(scores.argmax())
    assert f"{highest:02}.png; without it, it would be {without(scores, highest):.6g}." in (
        found.basis("memory")
    )
    assert "far from" not in found.basis("memory")


def test_what_cannot_be_had_without_the_image_is_said():
    said = from_normals({"memory": np.arange(19.0)}).basis("memory")
    assert "the score of held-out image 18; without it, it would be 17 and the rate 0.053" in said


def test_all_together_rest_on_an_image_of_their_own(scores):
    both = {"memory": scores, "winclip": np.random.default_rng(1).normal(size=30)}
    found = from_normals(both, names=NAMES, method="fisher")
    fused = found.known()["fused"]
    assert NAMES[int(fused.argmax())].removeprefix("good/") in found.basis("fused")


def test_suspects_are_left_out_and_named(scores):
    maxima = {"memory": 2 * scores}
    found = from_normals({"memory": scores}, maxima, names=NAMES, suspects=1)
    assert found.thresholds["memory"] == without(scores, 7)
    assert found.map_thresholds["memory"] == 2 * without(scores, 7)
    assert len(found.reference["memory"]) == len(found.names) == 29
    assert NAMES[7] not in found.names
    (note,) = found.notes
    assert "1 of 30 held-out images left out as suspected defects: 07.png." in note
    assert "If defective, at most 0.05 of good images are flagged; if good, at most 0.065." in note
    # the strangest under any head
    both = {"memory": scores, "winclip": np.arange(30) / 30}
    assert NAMES[7] not in from_normals(both, names=NAMES, suspects=1, method="fisher").names


def test_what_leaving_out_suspects_promises():
    """Where those left out are good after all, the rate told holds and the asked one does not."""
    rng, alarms = np.random.default_rng(0), []
    for _ in range(4000):
        scores = rng.lognormal(size=50)
        found = from_normals({"memory": scores[:30]}, suspects=1)
        alarms.append((scores[30:] > found.thresholds["memory"]).mean())
    assert 0.06 < np.mean(alarms) <= 0.065
    # where they are defects, the rate asked for holds
    alarms = []
    for _ in range(4000):
        scores = np.append(rng.lognormal(size=50), 1e6)
        found = from_normals({"memory": scores[20:]}, suspects=1)
        alarms.append((scores[:20] > found.thresholds["memory"]).mean())
    assert np.mean(alarms) <= 0.05


def test_too_many_suspects_are_refused(scores):
    with pytest.raises(InputError, match="at least 19 held-out normal images, got 18"):
        from_normals({"memory": scores}, suspects=12)
    with pytest.raises(InputError, match="suspects is -1; give a whole number"):
        from_normals({"memory": scores}, suspects=-1)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Twelve images, of which the last shows something else."""
    folder = tmp_path_factory.mktemp("good")
    for i in range(12):
        random = np.random.default_rng(i)
        y, x = np.mgrid[0:60, 0:80]
        waves = np.sin(x / 7 + i % 4 / 9) * np.cos(y / 9)
        pixels = 128 + 40 * waves[..., None] + random.normal(0, 6, (60, 80, 3))
        if i == 11:
            pixels = random.uniform(0, 255, (60, 80, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i:02}.png")
    return folder


@pytest.mark.parametrize("suspects", [0, 1])
def test_every_command_says_the_same(good, small_file, tmp_path, suspects):
    from fastapi.testclient import TestClient

    from vlad.serving.app import create_app
    from vlad.serving.detectors import Served, Store
    from vlad.serving.limits import Limits

    options = ["--backbone", small_file, "--k-shot", 3, "--false-alarms", 0.15]
    options += ["--suspects", suspects]

    def run(verb, *args):
        return CliRunner().invoke(main, [verb, *map(str, args), *map(str, options)])

    auto = [good, "--normal", good, "--threshold", "auto"]
    scored = run("score", *auto, "--out", tmp_path / "run")
    fitted = run("fit", good, "--out", tmp_path / "detector")
    assert scored.exit_code == fitted.exit_code == 0, scored.output + fitted.output
    found = vlad.Detector.load(tmp_path / "detector").calibration_
    said = [found.basis("memory"), *found.notes]
    assert ("11.png" in said[0]) == (suspects == 0)
    assert [note.count("11.png") for note in said[1:]] == [1] * suspects
    for sentence in said:
        assert sentence in scored.output and sentence in fitted.output
    app = create_app(Store([Served("line", vlad.Detector.load(tmp_path / "detector"))]), Limits())
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.get("/v1/detectors").json()["detectors"][0]["basis"] == said
    # the report shows the held-out ones, strangest first
    page = (tmp_path / "run" / "report.html").read_text()
    section = page.partition('id="held-out"')[2].partition("</section>")[0]
    assert section.count("<li") == 9 and section.count("<img") == 9
    first, second = section.split("<li")[1:3]
    place = "left out as a suspected defect" if suspects else "sets the threshold"
    assert "11.png" in first and place in first
    assert ("sets the threshold" in second) == (suspects == 1)
    assert '<rect class="held"' in page
    assert all(sentence in page.replace("&#39;", "'") for sentence in said)


def test_watch_says_it_before_the_first_image(good, small_backbone, tmp_path):
    from vlad.datasets import list_samples
    from vlad.heads import load_head
    from vlad.results.verdicts import Rules
    from vlad.runs.settings import Settings
    from vlad.runs.watch import watch

    normals, stop, told = list_samples([good]), threading.Event(), []
    (tmp_path / "camera").mkdir()
    stop.set()
    rules = Rules(held_out=normals[3:], false_alarms=0.15)
    watch(
        small_backbone, {"memory": load_head("memory")}, tmp_path / "camera",
        Settings(references=normals[:3], rules=rules), tmp_path / "run", interval=1, stop=stop,
        on_scored=print, on_trouble=print, on_calibrated=told.append,
    )  # fmt: skip
    assert "11.png" in told[0].basis("memory")
