"""vlad choose: a table, what it means and a command line; sentences for all that goes wrong."""

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from vlad.cli import main
from vlad.commands.choose import verdict
from vlad.evaluation.choice import choose as choose_head
from vlad.evaluation.comparison import Compared
from vlad.evaluation.leave_out import LeftOut


def image(seed, stain=False):
    """Waves that differ from image to image, and a stain on some."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:64, 0:64]
    waves = np.stack([np.sin(x / 7 + c + seed) * np.cos(y / 9 + seed / 3) for c in range(3)], -1)
    pixels = 128 + 50 * waves + random.normal(0, 5, (64, 64, 3))
    if stain:
        pixels[20:40, 20:40] = (255, 0, 255)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """good (5 images), bad (8 with a stain) and parts (2)."""
    monkeypatch.chdir(tmp_path)
    for name, seeds in (("good", range(5)), ("bad", range(10, 18)), ("parts", range(20, 22))):
        (tmp_path / name).mkdir()
        for seed in seeds:
            image(seed, stain=name == "bad").save(tmp_path / name / f"{seed}.png")
    return tmp_path


@pytest.fixture
def choose(small_file):
    def run(*args, backbone=small_file):
        options = ["--backbone", str(backbone), "--device", "cpu"]
        return CliRunner().invoke(main, ["choose", *map(str, args), *options])

    return run


def columns(done):
    """The header of the table, and the first word of each row."""
    lines = done.stdout.splitlines()
    return lines[0], [line.split()[0] for line in lines[1:5]]


def test_picks_and_prints_the_command_to_use(folders, choose, small_file):
    done = choose("parts", "--normal", "good", "--defects", "bad", "--tile", 48)
    assert done.exit_code == 0, done.output
    header, heads = columns(done)
    assert header.split("  ")[0] == "head" and "image AUROC" in header and "95 % interval" in header
    assert sorted(heads) == ["memory", "mvg", "padim", "statistics"]
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("vlad score "))
    words = shlex.split(line)
    assert words[2] == "parts" and words[words.index("--normal") + 1] == "good"
    assert words[words.index("--tile") + 1] == "48" and "--defects" not in words
    assert words[words.index("--head") + 1] in heads
    scored = CliRunner().invoke(main, words[1:])
    assert scored.exit_code == 0, scored.output


def test_a_category_brings_winclip(folders, choose, dinov2_folder):
    args = ("parts", "--normal", "good", "--category", "nut")
    assert "winclip" in columns(choose(*args))[1]
    without = choose(*args, backbone=dinov2_folder)
    assert without.exit_code == 0, without.output
    assert "mvg" in columns(without)[1] and "--category has no effect" in without.stderr


@pytest.mark.parametrize(
    ("given", "said"), [(7, "there are 7"), (1, "there is 1"), (0, "are none")]
)
def test_few_defects_choose_nothing(folders, choose, given, said):
    defects = [w for i in range(given) for w in ("--defects", folders / "bad" / f"{10 + i}.png")]
    done = choose("parts", "--normal", "good", *defects)
    assert done.exit_code == 0, done.output
    assert "No head is chosen: that takes 8 images with defects" in done.stdout
    assert said in done.stdout and "vlad score parts" not in done.stdout
    header, _ = columns(done)
    assert "AUROC" not in header and ("found" in header) == bool(given)
    assert {"drawn defects", "flagged", "strangest", "agreement", "time"} <= set(
        re.split(r"\s{2,}", header)
    )


def test_files_as_a_shell_expands_them(folders, choose):
    bad = sorted((folders / "bad").iterdir())
    done = choose("parts", "--normal", *sorted((folders / "good").iterdir()), "--defects", *bad)
    assert done.exit_code == 0 and "of 8" in done.stdout, done.output


def test_what_is_left_out_is_said(folders, choose):
    (folders / "good" / "broken.png").write_bytes(b"no image")
    shutil.copy(folders / "good" / "0.png", folders / "good" / "again.png")
    (folders / "bad" / "ground_truth").mkdir()
    shutil.copy(folders / "bad" / "10.png", folders / "bad" / "ground_truth" / "10.png")
    done = choose("parts", "--normal", "good", "--defects", "bad")
    assert done.exit_code == 0, done.output
    assert "Left out good/broken.png" in done.stderr
    assert "1 of 6 normal images is a copy of others (again.png)" in done.stderr
    assert "From 5 normal images" in done.stdout and "of 8" in done.stdout


def test_long_lists_are_drawn_from_and_that_is_said(folders, choose, monkeypatch):
    for name in ("MOST_NORMALS", "MOST_DEFECTS"):
        monkeypatch.setattr(f"vlad.evaluation.comparison.{name}", 4)
    done = choose("parts", "--normal", "good", "--defects", "bad")
    assert "4 of the 5 normal images were drawn" in done.stderr
    assert "4 of the 8 defects were drawn" in done.stderr
    assert "No head is chosen" in done.stdout


def test_refusals(folders, choose):
    """Each is one sentence and exit code 2."""
    same, few, broken = (folders / name for name in ("same", "few", "broken"))
    for folder in (same, few, broken):
        folder.mkdir()
    shutil.copy(folders / "good" / "2.png", same / "renamed.png")
    shutil.copy(folders / "good" / "2.png", few / "one.png")
    for i in range(4):
        (broken / f"{i}.png").write_bytes(b"no image")
    (folders / "labels.csv").write_text(
        "path,label\n" + "".join(f"bad/{i}.png,1\n" for i in range(10, 15))
    )
    for args, said in (
        (["parts"], "Missing option '--normal'"),
        (["parts", "--normal", few], "which takes 4 of them, got 1"),
        (["parts", "--normal", folders / "nowhere"], "there is no file or folder"),
        (["parts", "--normal", broken], "and 0 can be used"),
        (
            ["parts", "--normal", "labels.csv"],
            "5 images given with --normal but labelled anomalous",
        ),
        (
            ["parts", "--normal", "good", "--defects", same],
            "1 image given as normal and as a defect",
        ),
        ([broken, "--normal", "good"], "none of 4 images to score can be read"),
        (["parts", "--normal", "good", "--overlap", 0.5], "--overlap applies to tiles"),
    ):
        done = choose(*args)
        assert done.exit_code == 2, (args, done.output)
        assert said in done.stderr and "Traceback" not in done.stderr, (args, done.stderr)


def test_ctrl_c_is_one_word(folders, choose, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("vlad.evaluation.comparison.leave_out", stop)
    done = choose("parts", "--normal", "good")
    assert done.exit_code == 130 and done.stderr.endswith("Stopped.\n")
    assert "Traceback" not in done.stderr


def test_a_strange_normal_image_is_named():
    """It sets the threshold, and may be a defect."""
    normal = np.random.default_rng(0).normal(size=10)
    usual = LeftOut(normal, normal, normal[:0], normal, 0.1)
    odd = replace(usual, normal=np.append(normal[:9], 50))
    paths = [Path(f"{i}.png") for i in range(10)]

    def said(scores):
        found = Compared(scores, paths, parts=10)
        return verdict(choose_head(scores), found)

    assert "9.png is a strange normal image for memory" in said({"memory": odd, "padim": usual})
    assert "strange" not in said({"memory": usual, "padim": odd})


def test_chance_is_called_chance():
    rng = np.random.default_rng(0)
    normal, blind, seen = rng.normal(size=20), rng.normal(size=12), rng.normal(size=12) + 9

    def said(defects):
        scores = {n: LeftOut(normal, normal, defects, normal, 0.1) for n in ("memory", "padim")}
        return verdict(choose_head(scores), Compared(scores, [Path("1.png")] * 20, 12, 20))

    assert "No head is shown to see these defects" in said(blind)
    assert "No head is shown" not in said(seen)


def test_a_rate_is_rounded_up():
    """7 normal images hold 1 in 8."""
    normal = np.arange(7.0)
    scores = {n: LeftOut(normal, normal, normal[:0], normal, 0.1) for n in ("memory", "padim")}
    assert "at most 13 % of normal" in verdict(choose_head(scores), Compared(scores, [Path()] * 7))
