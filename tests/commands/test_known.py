"""Known defects: the nearest kind in all outputs, and none of them in the test."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

import vlad as package
from vlad.cli import main
from vlad.datasets.known import known_of, list_known, without_known
from vlad.errors import InputError
from vlad.evaluation import Entry, evaluate_category
from vlad.heads import load_head
from vlad.scoring.setup import Setup


def mark(folder, kind, image, name="a"):
    """Save an image as a wholly marked defect of this kind."""
    for below in (kind, f"ground_truth/{kind}"):
        (folder / below).mkdir(parents=True, exist_ok=True)
    image.save(folder / kind / f"{name}.png")
    Image.new("L", image.size, 255).save(folder / f"ground_truth/{kind}/{name}_mask.png")
    return folder


@pytest.fixture
def defects(drawn, tmp_path):
    """Two known defects, one with a name that a spreadsheet would run."""
    mark(tmp_path / "known", "=stain", drawn[5])
    return mark(tmp_path / "known", "dent", drawn[4])


@pytest.fixture
def run(small_file):
    def run(verb, *args):
        options = ["--backbone", str(small_file)]
        options += [] if verb == "export" else ["--device", "cpu"]
        return CliRunner().invoke(main, [verb, *map(str, args), *options])

    return run


def test_the_nearest_kind_is_in_rows_and_report_and_stays_when_resumed(
    run, images, defects, tmp_path, rows
):
    out = tmp_path / "run"
    options = ["--normal", images / "0.png", "--known-defects", defects, "--out", out]
    options += ["--head", "memory,labelled"]
    (images / "torn.png").write_text("no image")
    assert run("score", images, *options).exit_code == 0
    found = {row["path"].rpartition("/")[2]: row for row in rows(out)}
    assert list(found["0.png"]) == ["path", "memory", "labelled", "labelled_kind", "error"]
    expected = {"0.png": "", "4.png": "dent", "5.png": "'=stain", "torn.png": ""}
    assert {name: found[name]["labelled_kind"] for name in expected} == expected
    typed = {row["path"].rpartition("/")[2]: row for row in pq.read_table(
        out / "scores.parquet").to_pylist()}  # fmt: skip
    typed_kinds = {name: typed[name]["labelled_kind"] for name in expected}
    assert typed_kinds == {"0.png": "", "4.png": "dent", "5.png": "=stain", "torn.png": None}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Nearest known defect: dent" in page and "Nearest known defect: =stain" in page
    assert "shown known defects" in page

    before = (out / "scores.csv").read_bytes()
    (images / "torn.png").unlink()
    assert run("score", images, *options, "--resume").exit_code == 0
    assert (out / "scores.csv").read_bytes() == before
    again = pq.read_table(out / "scores.parquet").to_pylist()
    assert [row["labelled_kind"] for row in again] == [
        typed[row["path"].rpartition("/")[2]]["labelled_kind"] for row in again
    ]


def test_without_known_kinds_there_is_no_column(run, images, tmp_path, rows):
    out = tmp_path / "run"
    done = run("score", images, "--normal", images / "0.png", "--maps", "none", "--out", out)
    assert done.exit_code == 0
    assert list(rows(out)[0]) == ["path", "memory", "error"]


def test_python_names_kinds_also_of_tiled_images(defects, drawn, small_file):
    detector = package.load("labelled", backbone=str(small_file), device="cpu", layers=(1,))
    detector.fit(drawn[0], known_defects=defects)
    images = [drawn[5], drawn[0], drawn[4]]
    assert detector.score(images).kind.tolist() == ["=stain", "", "dent"]
    assert detector.kinds(images) == ["=stain", "", "dent"]
    assert [one.kind for one in detector.stream(images)] == ["=stain", "", "dent"]
    assert detector({"image": images})["kind"].tolist() == ["=stain", "", "dent"]
    tiled = package.load("labelled", backbone=str(small_file), device="cpu", tile=64, overlap=0.0)
    tiled.fit(drawn[0], known_defects=defects)
    # one tile shows the defect, and it is the one that scores highest
    large = Image.new("RGB", (2 * drawn[0].width, drawn[0].height))
    large.paste(drawn[0], (0, 0))
    large.paste(drawn[4], (drawn[0].width, 0))
    tiles = tiled.features(large)
    each = tiled.head_.score(tiles)
    worst = int(each.image_score.argmax())
    assert tiled.kinds(large) == [tiled.head_.known[int(each.kind[worst])]]
    plain = package.load("memory", backbone=str(small_file), device="cpu").fit(drawn[0])
    assert plain.score(drawn[0]).kind is None and "kind" not in plain({"image": [drawn[0]]})
    with pytest.raises(package.errors.HeadError, match="memory knows no defects"):
        plain.kinds(drawn[0])


def test_eval_leaves_known_defects_out_of_the_test_and_says_so(run, category, tmp_path):
    data = tmp_path / "nut"
    category(data, normal=3)
    known = mark(tmp_path / "known", "stain", Image.open(data / "test/stain/4.png"))
    file = tmp_path / "found.json"
    done = run("eval", data, "--head", "memory,labelled", "--known-defects", known, "--json", file)
    assert done.exit_code == 0, done.output
    # the known one was saved again, and is another file of the same bytes
    assert (known / "stain/a.png").read_bytes() == (data / "test/stain/4.png").read_bytes()
    assert "1 of 5 test images of nut are known defects and left out of the test" in done.output
    assert "labelled (shown known defects)" in done.output
    memory, labelled = json.loads(file.read_text())["results"]
    assert memory["images"] == labelled["images"] == 4
    assert (memory["known"], labelled["known"]) == ([], [str(known / "stain/a.png")])
    assert "shown known defects" not in memory["protocol"]


def test_a_saved_detector_says_that_it_learned_from_the_test(run, category, tmp_path):
    data = tmp_path / "nut"
    category(data, normal=3)
    known = mark(tmp_path / "known", "stain", Image.open(data / "test/stain/4.png"))
    fit = ["--head", "labelled", "--known-defects", known, "--out", tmp_path / "saved"]
    assert run("fit", data / "train/good", *fit).exit_code == 0
    options = ["--detector", str(tmp_path / "saved"), "--device", "cpu"]
    done = CliRunner().invoke(main, ["eval", str(data), *options])
    assert done.exit_code == 0, done.output
    assert "labelled learned from 1 test image" in done.output
    assert "labelled (shown known defects)" in done.output


def test_bench_of_two_categories_and_a_changed_mask(run, category, drawn, tmp_path):
    for name in ("nut", "bolt"):
        category(tmp_path / "data" / name, normal=3)
        mark(tmp_path / "known" / name, "stain", drawn[4])
    out = tmp_path / "bench"
    options = ["--head", "memory,labelled", "--k-shot", "2", "--seeds", "0", "--out", out]
    options += ["--known-defects", tmp_path / "known"]
    done = run("bench", tmp_path / "data", *options)
    assert done.exit_code == 0, done.output
    assert done.output.count("are known defects and left out of the test") == 2
    table = {(r["category"], r["head"]): r for r in pq.read_table(
        out / "bench.parquet").to_pylist()}  # fmt: skip
    assert {row["images"] for row in table.values()} == {4}
    own = str(tmp_path / "known/bolt/stain/a.png")
    assert table["bolt", "labelled"]["known_defects"] == [own]
    assert table["bolt", "memory"]["known_defects"] == []
    mask = Image.new("L", drawn[4].size)
    mask.paste(255, (0, 0, 9, 9))
    mask.save(tmp_path / "known/bolt/ground_truth/stain/a_mask.png")
    done = run("bench", tmp_path / "data", *options)
    assert "Images or masks of bolt in data changed" in done.output
    assert "of nut" not in done.output


def test_an_exported_graph_knows_them(run, images, defects, drawn, small_file, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    done = run(
        "export", "--to", "onnx", "--head", "labelled", "--normal", images / "0.png",
        "--known-defects", defects, "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    card = json.loads((tmp_path / "out" / "export.json").read_text())
    assert card["protocol"] == "few-shot, shown known defects"
    detector = package.load("labelled", backbone=str(small_file), device="cpu")
    detector.fit(drawn[0], known_defects=defects)
    side = card["input"]["shape"][-1]
    pixels = np.asarray(drawn[5].resize((side, side), 3), np.float32) / 255
    pixels = (pixels - card["input"]["mean"]) / card["input"]["std"]
    session = onnxruntime.InferenceSession(tmp_path / "out" / card["files"]["detector"])
    feed = {card["input"]["name"]: pixels.transpose(2, 0, 1)[None].astype(np.float32)}
    score, _ = session.run(None, feed)
    np.testing.assert_allclose(score, detector.score(drawn[5]).image_score, atol=1e-3)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["eval", "DATA", "--head", "memory"], "No head here learns known defects (memory)"),
        (["bench", "DATA", "--head", "memory"], "No head here learns known defects (memory)"),
        (["export", "--to", "onnx", "--head", "memory"], "No head here learns known defects"),
    ],
)
def test_known_defects_for_no_head_are_refused(run, category, defects, tmp_path, args, words):
    category(tmp_path / "nut", normal=1)
    args = [str(tmp_path / "nut") if arg == "DATA" else arg for arg in args]
    more = ["--normal", tmp_path / "nut/train/good"] if args[0] == "export" else []
    more += [] if args[0] == "eval" else ["--out", tmp_path / "out"]
    done = run(*args, *more, "--known-defects", defects)
    assert done.exit_code == 2 and words in done.stderr
    assert not (tmp_path / "out").exists()


def test_defects_that_are_all_known_cannot_be_tested_on(category, tmp_path, small_backbone):
    category(tmp_path / "nut", normal=2)
    data = package.datasets.load_dataset("mvtec", tmp_path / "nut")
    known = list_known(tmp_path / "nut")
    entry = Entry("labelled", load_head("labelled"), 2)
    with pytest.raises(InputError, match="all 2 test images with defects are known defects"):
        evaluate_category(
            small_backbone, [entry], "nut", data.train("nut"), data.test("nut"), Setup(),
            known=known,
        )  # fmt: skip


def test_links_and_copies_are_known_and_others_are_not(drawn, tmp_path):
    known = list_known(mark(tmp_path / "known", "stain", drawn[4]))
    test = tmp_path / "test"
    test.mkdir()
    shutil.copy(known[0].path, test / "copy.png")
    (test / "link.png").symlink_to(known[0].path)
    drawn[5].save(test / "new.png")
    samples = [
        package.types.Sample(test / f"{name}.png", name, "nut", 1)
        for name in ("copy", "link", "new")
    ]
    with pytest.warns(UserWarning, match="2 of 3 test images of nut are known defects"):
        assert [sample.id for sample in without_known(samples, known)] == ["new"]


def test_a_folder_for_each_category(drawn, tmp_path):
    mark(tmp_path, "stain", drawn[4])
    assert [s.defect for s in known_of(tmp_path, ["nut"])["nut"]] == ["stain"]
    with pytest.raises(InputError, match="no folder of known defects of nut, bolt; put a folder"):
        known_of(tmp_path, ["nut", "bolt"])
    mark(tmp_path / "nut", "dent", drawn[5])
    assert [s.defect for s in known_of(tmp_path, ["nut"])["nut"]] == ["dent"]


def test_a_known_defect_sets_no_threshold(run, images, defects, tmp_path):
    options = ["--normal", images / "0.png", "--head", "labelled", "--known-defects", defects]
    out = tmp_path / "run"
    assert run("score", defects / "dent", *options, "--out", out).exit_code == 0
    labels = tmp_path / "labels.csv"
    labels.write_text(f"path,label\n{defects / 'dent' / 'a.png'},1\n")
    done = CliRunner().invoke(
        main, ["calibrate", str(out), "--labels", str(labels), "--out", str(tmp_path / "c.json")]
    )
    assert done.exit_code == 2 and "is a known defect of the run" in done.stderr
