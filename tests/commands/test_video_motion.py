"""vlad video --motion: a jump among slow steps is found, though each frame looks normal."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from clips import table
from PIL import Image

from vlad.cli import main
from vlad.system.lock import locked

JUMP = 9  # the frame that is far from the one before
STEPS = [1] * JUMP + [11] + [1] * 10
ALARMS = ("--alarms-per-hour", 3600)


@pytest.fixture
def footage(images, tmp_path):
    """A folder of frames that move by these pixels each; those of `other` show another image."""

    def make(name, steps, other=()):
        (tmp_path / name).mkdir()
        for number, moved in enumerate(np.cumsum(steps)):
            image = Image.open(images / f"{int(number in other)}.png").convert("RGB")
            path = tmp_path / name / f"{number:03}.png"
            Image.fromarray(np.roll(np.asarray(image), moved, axis=1)).save(path)
        return tmp_path / name

    return make


@pytest.fixture
def quiet(footage):
    return footage("quiet", [1] * 40)


@pytest.fixture
def vlad_video(small_file, tmp_path):
    """Runs `vlad video` -> click's result."""

    def run(*words, out=tmp_path / "run", smooth=("--smooth", "none")):
        options = ["--backbone", small_file, "--device", "cpu", *smooth, "--out", out]
        return CliRunner().invoke(main, list(map(str, ["video", *words, *options])))

    return run


def column(out, name):
    return np.array([float(row[name]) for row in table(out / "scores.csv")])


def changes(out):
    return {file.name: file.read_bytes() for file in (out / "normal_changes").iterdir()}


def test_a_jump_is_found_beside_appearance(vlad_video, footage, quiet, tmp_path):
    out = tmp_path / "run"
    done = vlad_video(footage("test", STEPS), "--normal", quiet, "--motion", quiet)
    assert done.exit_code == 0, done.output
    moved, seen = column(out, "motion"), column(out, "memory")
    assert np.argmax(moved) == JUMP and moved[JUMP] > 2 * np.median(moved)
    assert np.argmax(seen) != JUMP  # in frames as they are, nothing stands out
    assert moved[0] == pytest.approx(moved[1], abs=1e-6)  # the first one has no frame before it
    assert len(list((out / "normal_changes").iterdir())) == 39
    alone = vlad_video(tmp_path / "test", "--normal", quiet, out=tmp_path / "alone")
    assert alone.exit_code == 0, alone.output
    assert column(tmp_path / "alone", "memory") == pytest.approx(seen, abs=1e-6)


def test_the_combined_score_has_both(vlad_video, footage, quiet, tmp_path):
    out, test = tmp_path / "run", footage("test", [*STEPS, *[1] * 10], other=(25, 26))
    more = footage("more", [1, 2] * 30)
    normal = ("--normal", quiet, "--motion", quiet)
    done = vlad_video(test, *normal, "--normal-footage", more, *ALARMS)
    assert done.exit_code == 0, done.output
    rules = json.loads((out / "thresholds.json").read_text())
    assert list(rules["begin"]) == ["memory", "motion", "combined"] == list(rules["hourly"])
    above = {
        name: (column(out, name) - mean) / deviation
        for name, (mean, deviation) in rules["scales"].items()
    }
    calm = column(out / "calibration", "motion")
    assert rules["scales"]["motion"][0] == pytest.approx(np.mean(calm), abs=1e-6)
    found = column(out, "combined")
    assert found == pytest.approx(np.maximum(above["memory"], above["motion"]), abs=1e-4)
    starts = {
        head: [float(e["start"]) for e in table(out / "events.csv") if e["head"] == head]
        for head in rules["begin"]
    }
    jump, seen = JUMP / 25, 25 / 25
    assert jump in starts["motion"] and seen in starts["memory"]
    assert jump in starts["combined"] and seen in starts["combined"]
    # the region of a combined event is that of the column that led
    boxes = {
        (e["head"], float(e["start"])): (e["x"], e["width"]) for e in table(out / "events.csv")
    }
    assert boxes["combined", jump] == boxes["motion", jump] != ("", "")
    assert "combined: " in done.stdout and "At most 3600 false alarms" in done.stdout
    # the thresholds serve another run with the same motion, and no other
    rules = ("--thresholds", out / "thresholds.json")
    again = vlad_video(test, *normal, *rules, out=tmp_path / "again", smooth=())
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again/events.csv").read_bytes() == (out / "events.csv").read_bytes()
    without = vlad_video(test, "--normal", quiet, *rules, out=tmp_path / "b", smooth=())
    assert "is for memory, motion, combined, but the scores are memory" in without.stderr
    other = ("--normal", quiet, "--motion", more)
    done = vlad_video(test, *other, *rules, out=tmp_path / "c", smooth=())
    assert done.exit_code == 2 and "thresholds were found with other motion" in done.stderr
    labels = tmp_path / "labels.csv"
    labels.write_text("video,first,last\ntest,9,9\ntest,25,26\n", encoding="utf-8")
    measured = CliRunner().invoke(main, ["measure", str(out), str(labels)])
    assert measured.exit_code == 0 and "\ncombined_smoothed" in measured.stdout, measured.output


def test_changes_in_a_run_are_those_of_its_own_command(vlad_video, footage, quiet, tmp_path):
    out, other = tmp_path / "run", footage("other", [1, 3] * 4)
    words = (footage("test", STEPS), "--normal", quiet)
    assert vlad_video(*words, "--motion", quiet).exit_code == 0
    kept = changes(out)
    # refused, since it is held, or goes on with other settings
    with locked(out):
        held = vlad_video(*words, "--motion", other, "--overwrite")
    assert held.exit_code == 2 and "another run is writing" in held.stderr, held.output
    assert vlad_video(*words, "--motion", other, "--resume").exit_code == 2
    assert len(kept) == 39 and changes(out) == kept
    assert vlad_video(*words, "--motion", other, "--overwrite").exit_code == 0
    assert len(changes(out)) == 7
    assert vlad_video(*words, "--overwrite").exit_code == 0
    assert not (out / "normal_changes").exists()


@pytest.mark.parametrize("tile, tiles, count", [(64, 4, 20), (40, 9, 10)])
def test_of_tiles_fewer_changes_are_compared(
    vlad_video, footage, quiet, tmp_path, tile, tiles, count
):
    words = (footage("test", [1]), "--normal", quiet / "000.png", "--motion", quiet)
    done = vlad_video(*words, "--tile", tile, "--overlap", 0)
    assert done.exit_code == 0, done.output
    said = f"quiet: motion is compared with {count} changes, cut into {tiles} tiles each."
    assert said in done.stderr and len(changes(tmp_path / "run")) == count


def test_a_stopped_run_goes_on_with_the_frame_before(vlad_video, footage, quiet, tmp_path):
    test, out = footage("test", STEPS), tmp_path / "run"
    words = (test, "--normal", quiet, "--motion", quiet)
    assert vlad_video(*words).exit_code == 0
    whole = column(out, "motion")
    rows = (out / "scores.csv").read_text(encoding="utf-8").splitlines()
    kept = [",".join([*line.split(",")[:3], ""]) for line in rows[1 : JUMP + 1]]
    text = "\n".join(["path,memory,motion,error", *kept]) + "\n"
    (out / "scores.csv").write_text(text, encoding="utf-8")
    done = vlad_video(*words, "--resume")
    assert done.exit_code == 0 and "continuing after frame 8" in done.stderr, done.output
    assert column(out, "motion") == pytest.approx(whole, abs=1e-6)
    done = vlad_video(test, "--normal", quiet, "--resume")
    assert done.exit_code == 2 and "was started with other settings" in done.stderr, done.output


def test_a_frame_that_cannot_be_read_leaves_the_next_without_a_change(
    vlad_video, footage, quiet, tmp_path
):
    test = footage("test", STEPS)
    (test / "004.png").write_bytes(b"no image")
    done = vlad_video(test, "--normal", quiet, "--motion", quiet)
    assert done.exit_code == 0 and "18 frames scored, 2 failed" in done.stdout, done.output
    rows = table(tmp_path / "run" / "scores.csv")
    assert [n for n, row in enumerate(rows) if "004.png" in row["error"]] == [4, 5]


def test_without_normal_footage_nothing_is_combined(vlad_video, footage, quiet, tmp_path):
    done = vlad_video(footage("one", [1]), "--category", "nut", "--motion", quiet)
    assert done.exit_code == 0, done.output
    (row,) = table(tmp_path / "run" / "scores.csv")
    assert row["winclip"] and row["motion"] and "combined" not in row
    assert "No events: nothing decides what one is" in done.stdout


@pytest.mark.parametrize(
    "words, says",
    [
        (["--motion", "short"], "fewer than two frames"),
        (["--motion", "quiet", "--begin-above", 1], "--begin-above is for one column"),
        (["--motion", "quiet", "--head", "named"], "a head is named motion"),
        (
            ["--motion", "quiet", "--normal-footage", "quiet/../quiet", *ALARMS],
            "thresholds from it would be too low",
        ),
    ],
)
def test_errors(vlad_video, footage, quiet, words, says):
    folder = footage("short", [1]).parent
    code = "from vlad.heads.memory import Memory\nclass Motion(Memory):\n    pass\n"
    (folder / "head.py").write_text(code, encoding="utf-8")
    words = [f"{folder}/head.py:Motion" if word == "named" else word for word in words]
    named = [folder / w if str(w).split("/")[0] in ("short", "quiet") else w for w in words]
    done = vlad_video(quiet, "--normal", quiet, *named)
    assert done.exit_code == 2 and says in done.stderr, done.output
    assert not (folder / "run").exists()  # nothing is left of what was refused


def test_scales_are_of_the_normal_footage_of_this_command(vlad_video, footage, quiet, tmp_path):
    words = (footage("test", STEPS), "--normal", quiet, "--motion", quiet, *ALARMS)
    first = footage("first", [1, 5] * 20, other=range(0, 40, 3))
    second = footage("second", [1, 2] * 20)
    for out, more, how in (("run", first, []), ("run", second, ["--resume"]), ("new", second, [])):
        done = vlad_video(*words, "--normal-footage", more, *how, out=tmp_path / out)
        assert done.exit_code == 0, done.output
        if not how:  # as if it was stopped before the first frame
            (tmp_path / out / "scores.csv").write_text("path,memory,motion,error\n")
    resumed, new = (
        json.loads((tmp_path / out / "thresholds.json").read_text())["scales"]
        for out in ("run", "new")
    )
    assert resumed["memory"] == pytest.approx(new["memory"], rel=1e-4)


def test_normal_footage_that_cannot_be_read_gives_a_sentence(vlad_video, footage, quiet, tmp_path):
    bad = footage("bad", [1, 1, 1])
    for file in bad.iterdir():
        file.write_bytes(b"no image")
    words = ("--normal", quiet, "--motion", quiet, "--normal-footage", bad, *ALARMS)
    done = vlad_video(footage("test", STEPS), *words)
    assert done.exit_code == 2 and "of normal footage, got 0" in done.stderr, done.output
