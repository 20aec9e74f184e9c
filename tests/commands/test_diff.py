"""vlad diff: what changed between two finished runs."""

import csv
import json
import os
import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from vlad.calibration import Calibration, save_calibration
from vlad.cli import main
from vlad.report.overlays import shared_scales, write_overlays
from vlad.results.folder import RunFolder
from vlad.results.rows import Row, State

SCORES = [0.9, 0.7, 0.5, 0.3, 0.1]
SETTINGS = {"backbone": "tiny", "params": {"memory": {"top": 0.01}}, "references": {"g.png": "1f"}}


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(5):
        Image.new("RGB", (32, 24), (40 * i, 90, 20)).save(folder / f"{i}.png")
    return sorted(folder.iterdir())


@pytest.fixture
def run(tmp_path, images):
    """Writes a run: image i gets the i-th score, None for an error; judged by a threshold."""

    def make(
        name, scores=SCORES, threshold=None, heads=("memory",), paths=None, maps="png", **settings
    ):
        paths = paths or images[: len(scores)]
        common = {**SETTINGS, "root": str(images[0].parent), **settings}
        ranges = dict.fromkeys(heads, (0.0, 1.0))
        folder = RunFolder(tmp_path / name, ranges, common, maps).create()
        rows = [
            Row(str(path), {}, "broken", State.of(path))
            if score is None
            else Row(str(path), dict.fromkeys(heads, score), None, State.of(path))
            for path, score in zip(paths, scores, strict=True)
        ]
        folder.append(rows)
        samples = folder.samples()
        for sample, score in zip(samples, scores, strict=True):
            for head in heads if score is not None and folder.keeps_maps else ():
                folder.write_map(head, sample, np.full((8, 8), score, np.float32), (32, 24))
        scales = shared_scales(folder, samples)
        write_overlays(folder, samples, scales, lambda path: Image.open(path).convert("RGB"))
        more = {}
        if threshold is not None:
            known = {head: np.array([0.1, 0.2]) for head in heads}
            thresholds = dict.fromkeys(heads, threshold)
            made = Calibration("number", known, thresholds, {}, settings={})
            save_calibration(made, folder.out / "calibration.json")
            for head in heads:
                good = {r.path: r.scores[head] for r in rows if r.error is None}
                words = {p: "anomalous" if s > threshold else "normal" for p, s in good.items()}
                more[f"{head}_verdict"] = words
                more[f"{head}_abstain"] = dict.fromkeys(good, False)
        folder.finish([row.path for row in rows], more)
        return folder.out

    return make


def diff(*args):
    return CliRunner().invoke(main, ["diff", *map(str, args)])


def line(output, start):
    return next(row.split() for row in output.splitlines() if row.split()[:1] == [start])


def table(out):
    with open(out / "diff.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_ranks_scores_and_correlations(run, images, tmp_path):
    # the first image falls from place 1 to 3; the two behind it rise by one
    a, b = run("a"), run("b", [0.3, 0.8, 0.6, 0.2, 0.1])
    done = diff(a, b, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "No setting differs." in done.stdout
    assert "5 images compared\n" in done.stdout
    # squared moves are 4 + 1 + 1: 1 - 6 * 6 / 120; 2 of 10 pairs change order
    assert line(done.stdout, "memory") == ["memory", "5", "0.700", "0.600", "-0.1", "-"]
    largest = done.stdout.partition("Largest changes of memory:\n")[2].splitlines()
    assert largest[1].split() == ["1", "3", "0.9", "0.3", str(images[0])]
    assert len(largest[1:-1]) == 3  # the others keep their places
    rows = table(tmp_path / "out")
    assert [row["rank_change"] for row in rows] == ["2", "-1", "-1", "0", "0"]
    assert rows[0] == {
        "path": str(images[0]), "head": "memory", "score_a": "0.9", "score_b": "0.3",
        "rank_a": "1", "rank_b": "3", "rank_change": "2", "verdict_a": "", "verdict_b": "",
        "left_out": "",
    }  # fmt: skip


def test_changed_verdicts_come_first_in_both_directions(run, images, tmp_path):
    a = run("a", [0.9, 0.7, 0.5, 0.3, 0.1], threshold=0.6)
    b = run("b", [0.9, 0.5, 0.7, 0.8, 0.1], threshold=0.6)
    done = diff(a, b, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "2 normal to anomalous, 1 anomalous to normal" in done.stdout
    rows = table(tmp_path / "out")
    words = [(row["path"], row["verdict_a"], row["verdict_b"]) for row in rows]
    up, down = ("normal", "anomalous"), ("anomalous", "normal")
    assert {words[0], words[1], words[2]} == {
        (str(images[3]), *up), (str(images[1]), *down), (str(images[2]), *up)
    }  # fmt: skip
    kept = json.loads((tmp_path / "out" / "diff.json").read_text())
    assert kept["heads"]["memory"]["verdicts_changed"] == 3


def test_a_verdict_that_a_run_withholds_is_unsure(run, tmp_path):
    a, b = run("a", threshold=0.4), run("b", threshold=0.4)
    folder = RunFolder.open(b)
    paths = list(folder.rows)
    verdicts = {path: "anomalous" if i < 3 else "normal" for i, path in enumerate(paths)}
    abstain = {path: i == 2 for i, path in enumerate(paths)}
    folder.finish(paths, {"memory_verdict": verdicts, "memory_abstain": abstain})
    assert "1 anomalous to unsure" in diff(a, b).stdout


def test_settings_that_differ_are_named_first(run):
    a = run("a", threshold=0.6)
    b = run(
        "b", threshold=0.5, backbone="other", params={"memory": {"top": 0.1, "sigma": 2}},
        references={"moved/g.png": "1f", "h.png": "2f"},
    )  # fmt: skip
    output = diff(a, b).stdout
    rows = [re.split(r"\s{2,}", row) for row in output.partition("\n\n")[0].splitlines()]
    assert rows == [
        ["setting", "A", "B"],
        ["backbone", "tiny", "other"],
        ["params.memory.top", "0.01", "0.1"],
        ["params.memory.sigma", "-", "2"],
        ["references", "1 image", "2 images, 1 of them also in A"],
        ["threshold of memory", "0.6", "0.5"],
    ]


def test_images_and_heads_of_one_run_are_said(run, images, tmp_path):
    own = {**SETTINGS["params"], "musc": {"neighbours": 9}}
    a = run("a", [0.9, 0.7, 0.5, None], heads=("memory", "musc"), params=own)
    others = [*images[:2], images[3], images[4]]
    b = run("b", [0.9, 0.7, 0.3, 0.1], heads=("winclip", "memory"), paths=others, threshold=0.5)
    done = diff(a, b, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "2 images compared; left out: 1 only in A, 1 failed in A, 1 only in B" in done.stdout
    assert "No setting differs." in done.stdout
    assert "Only A has scores of musc." in done.stdout
    assert "Only B has scores of winclip." in done.stdout
    assert "A has no verdicts of memory." in done.stdout
    reasons = {row["path"]: row["left_out"] for row in table(tmp_path / "out")}
    assert reasons[str(images[2])] == "only in A"
    assert reasons[str(images[3])] == "failed in A"
    assert reasons[str(images[4])] == "only in B"


def test_a_joint_head_on_other_images_is_said(run):
    joint = {"protocol": {"memory": "transductive, zero-shot"}}
    a, b = run("a", **joint), run("b", SCORES[:4], **joint)
    said = "Scores of memory depend on all images of a run, and A and B hold different ones."
    assert said in diff(a, b).stdout
    assert said not in diff(a, a).stdout


def test_images_that_changed_are_left_out(run, images):
    a = run("a")
    Image.new("RGB", (48, 48), "red").save(images[1])
    b = run("b")
    done = diff(a, b)
    assert "4 images compared; left out: 1 changed between A and B" in done.stdout


def test_two_spellings_of_an_image_are_one(run, images, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(images[0].parent, target_is_directory=True)
    a, b = run("a"), run("b", paths=[link / path.name for path in images])
    done = diff(a, b, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "5 images compared\n" in done.stdout


def test_equal_scores_share_a_rank_and_have_no_correlation(run, tmp_path):
    done = diff(run("a", [0.5] * 5), run("b"), "--out", tmp_path / "out")
    assert {row["rank_a"] for row in table(tmp_path / "out")} == {"1"}
    assert line(done.stdout, "memory")[:4] == ["memory", "5", "-", "-"]


def test_the_sheet_holds_both_heat_maps_and_loads_nothing(run, images, tmp_path):
    evil = images[0].rename(images[0].with_name("<img src=x onerror=alert(1)>.png"))
    paths = [evil, *images[1:]]
    a, b = run("a", paths=paths), run("b", [0.1, 0.7, 0.5, 0.3, 0.9], paths=paths)
    done = diff(a, b, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "out" / "diff.html").read_text(encoding="utf-8")
    assert page.count("<li") == 2  # the images that changed places
    assert len(re.findall(r'<img [^>]*src="data:image/jpeg;base64,', page)) == 4
    assert "<img src=x" not in page
    assert "A #1" in page
    assert "B #5" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "default-src &#39;none&#39;" in page


def test_a_heat_map_that_is_missing_or_damaged_is_said(run, tmp_path):
    a, b = run("a"), run("b", SCORES[::-1], maps="none")
    next(a.rglob("overlays/memory/0.jpg")).write_bytes(b"no image")
    assert diff(a, b, "--out", tmp_path / "out").exit_code == 0
    page = (tmp_path / "out" / "diff.html").read_text(encoding="utf-8")
    assert page.count("<li") == 4
    assert page.count("No heat map") == 5  # all of B, one of A


def test_a_diff_is_replaced_and_nothing_else(run, tmp_path):
    a, b, out = run("a"), run("b", SCORES[::-1]), tmp_path / "out"
    assert diff(a, a, "--out", out).exit_code == 0
    assert diff(a, b, "--out", out).exit_code == 0
    assert table(out)[0]["rank_change"] in ("4", "-4")
    other = tmp_path / "other"
    other.mkdir()
    (other / "diff.csv").write_text("mine")
    done = diff(a, b, "--out", other)
    assert done.exit_code == 2
    assert "holds diff.csv but no vlad diff" in done.stderr
    assert (other / "diff.csv").read_text() == "mine"


def test_what_is_no_finished_run_is_refused(run, tmp_path, images):
    a, b = run("a"), run("b")
    done = diff(a, images[0].parent)
    assert done.exit_code == 2
    assert "holds no run of vlad; give a folder that `vlad score` wrote." in done.stderr
    folder = RunFolder.open(b)
    folder.append([Row(str(images[0]), {"memory": 0.2}, None, State.of(images[0]))])
    done = diff(a, b)
    assert done.exit_code == 2
    assert f"{b} is not finished; let the run end, or --resume it." in done.stderr
    os.remove(b / "scores.parquet")
    assert "is not finished" in diff(a, b).stderr
    (b / "scores.parquet").write_bytes(b"PAR1 but not really")
    done = diff(a, b)
    assert done.exit_code == 2
    assert "cannot read" in done.stderr


def test_runs_that_share_nothing_are_refused(run, images):
    a = run("a", SCORES[:2])
    done = diff(a, run("b", heads=("musc",)))
    assert done.exit_code == 2
    assert "has scores of memory" in done.stderr
    assert "of musc; name two runs that share a head." in done.stderr
    done = diff(a, run("c", SCORES[:3], paths=images[2:]))
    assert done.exit_code == 2
    assert "share no image to compare (2 only in A, 3 only in B)" in done.stderr


def test_runs_of_vlad_score(vlad, images, tmp_path):
    parts = images[0].parent
    for name, size in {"a": 64, "b": 96}.items():
        done = vlad(
            parts, "--normal", images[0], "--image-size", size, "--threshold", 0.1,
            "--out", tmp_path / name,
        )  # fmt: skip
        assert done.exit_code == 0, done.output
    done = diff(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert line(done.stdout, "image_size.memory") == ["image_size.memory", "64", "96"]
    assert "5 images compared\n" in done.stdout
