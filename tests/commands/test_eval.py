"""vlad eval: the metrics of known scores, on a small tree in MVTec layout."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

import vlad
from vlad.cli import main
from vlad.prompts import load_bank


@pytest.fixture
def tree(category, tmp_path):
    """Two categories."""
    for name in ("bolt", "nut"):
        category(tmp_path / "data" / name, normal=3)
    return tmp_path / "data"


@pytest.fixture
def run(small_file):
    def run(*args):
        options = ["--backbone", str(small_file), "--device", "cpu"]
        return CliRunner().invoke(main, ["eval", *map(str, args), *options])

    return run


def test_table_and_json(run, tree, tmp_path):
    done = run(tree, "--head", "winclip,memory", "--json", tmp_path / "table.json")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[:3] for line in lines[1:]] == [
        ["bolt", "winclip", "0"],
        ["bolt", "memory", "4"],
        ["nut", "winclip", "0"],
        ["nut", "memory", "4"],
        ["mean", "winclip", "0"],
        ["mean", "memory", "4"],
    ]
    results = json.loads((tmp_path / "table.json").read_text())["results"]
    assert lines[2][3] == f"{100 * results[1]['metrics']['image_auroc']:.1f}"
    assert len(results[1]["references"]) == 4


def test_metrics_are_those_of_the_scores(run, tree, tmp_path, small_file):
    done = run(tree / "nut", "--head", "memory", "--k-shot", 4, "--json", tmp_path / "table.json")
    assert done.exit_code == 0, done.output
    (result,) = json.loads((tmp_path / "table.json").read_text())["results"]
    detector = vlad.load("memory", backbone=str(small_file), device="cpu")
    detector.fit(tree / "nut" / "train" / "good")
    scores = detector.score(tree / "nut" / "test")
    labels = [0, 0, 0, 1, 1]
    assert result["metrics"]["image_auroc"] == roc_auc_score(labels, scores.image_score)
    masks = np.zeros((5, 64, 64), bool)
    for place, i in ((3, 4), (4, 5)):
        image = Image.open(tree / "nut" / "ground_truth" / "stain" / f"{i}_mask.png")
        masks[place] = np.asarray(image.resize((64, 64), Image.BILINEAR)) > 127
    expected = roc_auc_score(masks.ravel(), scores.anomaly_map.ravel())
    assert result["metrics"]["pixel_auroc"] == pytest.approx(expected, abs=1e-6)


def test_shots_go_to_every_head_when_named(run, tree, tmp_path):
    done = run(
        tree / "nut", "--head", "winclip,memory", "--k-shot", 2, "--json", tmp_path / "t.json"
    )
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "t.json").read_text())["results"]
    assert [(r["head"], r["k_shot"]) for r in results] == [("winclip", 2), ("memory", 2)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--head", "memory", "--k-shot", "0"], "raise --k-shot"),
        (["--k-shot", "5"], "only 4"),
        (["--category", "screw"], "screw"),
        (["--bank", "nonsense"], "nonsense"),
    ],
)
def test_bad_input(run, tree, options, words):
    done = run(tree, *options)
    assert done.exit_code == 2
    assert words in done.stderr.splitlines()[-1]


def test_wrong_layout(run, tmp_path):
    for args, words in (
        ([], "no known layout"),
        (["--layout", "mvtec"], "MVTec layout"),
        (["--layout", "nonsense"], "layout 'nonsense'"),
    ):
        done = run(tmp_path, *args)
        assert done.exit_code == 2
        assert words in done.stderr


def test_a_set_without_normal_images_is_still_told_by_its_masks(run, tree):
    import shutil

    shutil.rmtree(tree / "nut" / "train")
    shutil.rmtree(tree / "nut" / "test" / "good")
    done = run(tree / "nut")
    assert done.exit_code == 0, done.output
    assert "nut" in done.stdout


def test_a_broken_image_is_left_out_and_named(run, tree, tmp_path):
    (tree / "nut" / "test" / "good" / "1.png").write_bytes(b"broken")
    done = run(tree / "nut", "--json", tmp_path / "t.json")
    assert done.exit_code == 0, done.output
    assert "1.png" in done.stderr
    (result,) = json.loads((tmp_path / "t.json").read_text())["results"]
    assert len(result["errors"]) == 1
    assert 0 <= result["metrics"]["image_auroc"] <= 1


def test_without_masks_there_are_only_image_metrics(run, tree, tmp_path):
    for mask in (tree / "nut" / "ground_truth" / "stain").iterdir():
        mask.unlink()
    done = run(tree / "nut", "--json", tmp_path / "t.json")
    assert done.exit_code == 0, done.output
    (result,) = json.loads((tmp_path / "t.json").read_text())["results"]
    assert set(result["metrics"]) == {"image_auroc", "image_ap", "image_f1_max"}


def test_what_makes_figures_incomparable_stands_beside_them(run, tree, small_adapter, tmp_path):
    done = run(
        tree / "nut", "--head", "winclip,musc,anomalyclip", "--k-shot", 2,
        "--adapter", small_adapter("anomalyclip"), "--json", tmp_path / "table.json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "musc (transductive)" in done.stdout
    assert "anomalyclip (trained on nothing)" in done.stdout
    results = json.loads((tmp_path / "table.json").read_text())["results"]
    # only winclip has use for the two normal images
    assert [(r["protocol"], r["k_shot"], len(r["references"])) for r in results] == [
        ("few-shot", 2, 2),
        ("transductive, zero-shot", 0, 0),
        ("zero-shot, trained on nothing", 0, 0),
    ]


def test_a_single_test_image_cannot_be_compared_with_others(run, tree):
    for path in sorted((tree / "nut" / "test").glob("*/*.png"))[:-1]:
        path.unlink()
    done = run(tree / "nut", "--head", "musc")
    assert done.exit_code == 2
    assert "only one" in done.stderr


def test_words_replace_the_names_of_categories_in_the_prompts(run, tree, small_file, tmp_path):
    done = run(
        tree, "--head", "winclip,memory", "--words", "bolt=steel screw",
        "--json", tmp_path / "table.json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "table.json").read_text())["results"]
    said = {(r["category"], r["head"]): r["words"] for r in results}
    assert said == {
        ("bolt", "winclip"): "steel screw", ("nut", "winclip"): "nut",
        ("bolt", "memory"): None, ("nut", "memory"): None,
    }  # fmt: skip
    # the scores are those that `category` gives elsewhere
    labels = [0, 0, 0, 1, 1]
    for result in (r for r in results if r["head"] == "winclip"):
        detector = vlad.load("winclip", backbone=str(small_file), device="cpu")
        folder = tree / result["category"] / "test"
        scores = detector.score(folder, category=result["words"]).image_score
        assert result["metrics"]["image_ap"] == average_precision_score(labels, scores)
        assert result["prompts"] == load_bank("winclip").expand(result["words"]).key[:16]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["blot=steel screw"], "unknown category 'blot'. Did you mean bolt?"),
        (["steel screw"], "names no category"),
        (["bolt=a", "bolt=b"], "twice for bolt"),
        (["bolt={}"], "has no letter or digit"),
    ],
)
def test_words_that_cannot_be_used(run, tree, given, words):
    done = run(tree, *(part for text in given for part in ("--words", text)))
    assert done.exit_code == 2
    assert words in done.stderr.splitlines()[-1]
