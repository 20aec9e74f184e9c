"""vlad reproduce with a backbone from a hub, on drawn sets under the names of real ones."""

import json

import pytest
from click.testing import CliRunner

import vlad.evaluation.published
from vlad.cli import main
from vlad.evaluation.published import read_published

FIGURES = """
[[data]]
name = "mvtec"
title = "MVTec AD"
categories = ["bolt", "nut"]
test_images = 8
where = "https://example.org"
licence = "CC0"

[[data]]
name = "mpdd"
title = "MPDD"
categories = ["a", "b", "c", "d", "e", "f"]
test_images = 6
where = "https://example.org/mpdd"
licence = "CC BY-NC-SA 4.0"
gigabytes = 2

[[method]]
head = "memory"
backbone = "facebook/dinov2-small"
image_size = 56
note = "A note."

[[method]]
head = "winclip"
backbone = "facebook/of-nobody"

[[figure]]
head = "winclip"
data = "mvtec"
kind = "paper"
source = "another paper"
target = true
image_auroc = 90.0

[[figure]]
head = "memory"
data = "mvtec"
k_shot = 1
kind = "paper"
source = "a paper"
target = true
image_auroc = {image_auroc}

[[figure]]
head = "memory"
data = "mpdd"
k_shot = 1
kind = "paper"
source = "a paper"
target = true
image_auroc = 90.0
"""


@pytest.fixture
def mvtec(category, tmp_path):
    for name in ("bolt", "nut"):
        category(tmp_path / "sets" / name, normal=2)
    return tmp_path / "sets"


@pytest.fixture
def small_dino(hub, dinov2_folder, monkeypatch, tmp_path):
    """A small random model under the name of a real one, and a cache of the test's own."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    files = {file.name: file.read_bytes() for file in dinov2_folder.iterdir()}
    return hub.add("facebook/dinov2-small", files)


def reproduce(*args):
    command = ["reproduce", *map(str, args), "--device", "cpu"]
    return CliRunner().invoke(main, command)


def figures(monkeypatch, image_auroc):
    text = FIGURES.replace("{image_auroc}", str(image_auroc))
    made = read_published(text)
    monkeypatch.setattr(vlad.evaluation.published, "published", lambda: made)


def test_the_papers_backbone_is_fetched_and_figures_are_judged(
    small_dino, mvtec, monkeypatch, tmp_path
):
    figures(monkeypatch, 50.0)
    args = ("memory", "--data", f"mvtec={mvtec}", "--seeds", "0", "--out", tmp_path / "run")
    done = reproduce(*args)
    rows = (tmp_path / "run" / "memory-mvtec" / "results.jsonl").read_text().splitlines()
    found = [json.loads(row) for row in rows]
    assert [row["image_size"] for row in found] == [56, 56]
    mean = 100 * sum(row["metric.image_auroc"] for row in found) / 2
    assert done.exit_code == 1, done.output
    assert f"NOT reproduced: image AUROC by {mean - 50:+.1f} from a paper" in done.output
    assert "Not given: mpdd: MPDD, 6 categories, CC BY-NC-SA 4.0, about 2 GB" in done.stderr
    figures(monkeypatch, round(mean, 1))
    done = reproduce(*args)
    assert done.exit_code == 0, done.output
    assert "reproduced within 1 point of a paper.\nA note.\n" in done.output
    posted = (tmp_path / "run" / "reproduced.md").read_text()
    assert "backbone facebook/dinov2-small" in posted and str(tmp_path) not in posted
    done = reproduce(*args[:-1], tmp_path / "other", "--tolerance", "0.0001")
    assert done.exit_code == (1 if abs(round(mean, 1) - mean) > 1e-4 else 0)


def test_what_is_missing_is_said_and_the_rest_is_measured(small_dino, mvtec, monkeypatch, tmp_path):
    figures(monkeypatch, 50.0)
    args = ("--data", f"mvtec={mvtec}", "--seeds", "0", "--out", tmp_path / "run")
    done = reproduce("winclip", "memory", *args, "--tolerance", "100")
    assert done.exit_code == 0, done.output
    assert "winclip on MVTec AD\nnot measured: " in done.output
    assert "reproduced within 100 points" in done.output
    done = reproduce("winclip", *args)
    assert done.exit_code == 2 and "for the reasons above" in done.stderr


def test_another_protocol_is_not_judged(mvtec, monkeypatch, tmp_path, dinov2_folder):
    figures(monkeypatch, 1.0)
    (mvtec / "nut").rename(tmp_path / "nut")
    args = ("--data", f"mvtec={mvtec}", "--seeds", "0", "--out", tmp_path / "run")
    done = reproduce("memory", *args, "--backbone", dinov2_folder)
    assert done.exit_code == 2 and "were judged, for the reasons above" in done.stderr, done.output
    said = f"not judged: The backbone is {dinov2_folder.name}, not facebook/dinov2-small."
    assert f"{said} MVTec AD here lacks 1 of 2 categories: nut." in done.output
    # where things lie on this disk is not to post
    assert str(tmp_path.parent) not in (tmp_path / "run" / "reproduced.md").read_text()


def test_what_is_finished_outlasts_an_error_in_a_later_head(
    small_dino, mvtec, monkeypatch, tmp_path
):
    figures(monkeypatch, 50.0)
    (tmp_path / "run" / "winclip-mvtec").mkdir(parents=True)
    text = '{"kind": "vlad bench", "format": 1, "seeds": [7]}'
    (tmp_path / "run" / "winclip-mvtec" / "bench.json").write_text(text)
    known = FIGURES.replace("facebook/of-nobody", "vlad-tiny").replace("{image_auroc}", "50")
    monkeypatch.setattr(vlad.evaluation.published, "published", lambda: read_published(known))
    args = ("--data", f"mvtec={mvtec}", "--seeds", "0", "--out", tmp_path / "run")
    done = reproduce("memory", "winclip", *args, "--tolerance", "100")
    assert done.exit_code == 2 and "started with other settings" in done.stderr
    assert "reproduced within 100 points" in done.output
    assert "## memory on MVTec AD" in (tmp_path / "run" / "reproduced.md").read_text()


def test_what_has_no_figures_is_said(small_dino, mvtec, monkeypatch, tmp_path):
    figures(monkeypatch, 50.0)
    args = ("--data", f"mvtec={mvtec}", "--seeds", "0", "--out", tmp_path / "run")
    done = reproduce("memory", "winclip", *args, "--k-shot", "1,2", "--tolerance", "100")
    assert done.exit_code == 0, done.output
    assert "No figures: memory on mvtec with 2 normal images\n" in done.stderr
    assert "No figures: winclip on mvtec with 1, 2 normal images\n" in done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["wincilp", "--data", "mvtec=x"], "Did you mean winclip?"),
        (["winclip", "--data", "mvtec"], "--data mvtec names no data set and folder"),
        (["winclip", "--data", "mvtek=x"], "Did you mean mvtec?"),
        (["winclip", "--data", "mvtec=x", "--data", "mvtec=y"], "names mvtec twice"),
        (["winclip", "--data", "mvtec=nowhere"], "there is no folder nowhere"),
        (["winclip", "--data", "mpdd={mvtec}"], "There are no figures of winclip on mpdd"),
        (["--data", "mvtec=x"], "Figures are of heads on data sets"),
        (["memory", "--data", "mvtec={mvtec}", "--tolerance", "nan"], "not a number of points"),
        (["memory", "--data", "mvtec={mvtec}", "--adapter", "nowhere"], "Unknown adapter"),
    ],
)
def test_bad_input_is_one_sentence(mvtec, monkeypatch, tmp_path, args, words):
    figures(monkeypatch, 1.0)
    args = [arg.format(mvtec=mvtec) for arg in args]
    done = reproduce(*args, "--out", tmp_path / "run")
    assert done.exit_code == 2 and words in done.stderr, done.output
    assert "Traceback" not in done.output


def test_without_data_it_lists_what_there_is():
    done = reproduce()
    assert done.exit_code == 0
    assert "musc         visa   0" in done.output
    assert "visa: VisA, 12 categories, CC BY 4.0, about 2 GB; https://" in done.output
