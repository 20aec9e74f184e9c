"""vlad score through its entry point: what it writes, what it survives, what it says."""

from __future__ import annotations

import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from vlad.results.folder import RunFolder
from vlad.results.maps import read_map


def test_everything_is_written(vlad, images, tmp_path, rows):
    out = tmp_path / "run"
    done = vlad(
        images, "--category", "hazelnut", "--normal", images / "0.png",
        "--normal", images / "1.png", "--head", "winclip,memory", "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert str(out / "report.html") in done.output
    found = rows(out)
    assert [row["path"] for row in found] == [str(images / f"{i}.png") for i in range(6)]
    table = pq.read_table(out / "scores.parquet").to_pydict()
    for head in ("winclip", "memory"):
        assert table[head] == [float(row[head]) for row in found]
        for i in range(6):
            stored = Image.open(out / "maps" / head / f"{i}.png")
            image = Image.open(images / f"{i}.png")
            assert stored.mode.startswith("I")
            assert stored.size == image.size
            assert (out / "overlays" / head / f"{i}.jpg").is_file()
    assert all(row["error"] == "" for row in found)
    # a reference is its own nearest neighbour, and the stained images are none of the references
    assert max(table["memory"][:2]) < 1e-5 < min(table["memory"][2:])
    settings = json.loads((out / "run.json").read_text())
    assert list(settings["references"]) == [str(images / "0.png"), str(images / "1.png")]


def test_the_same_scores_as_in_python(vlad, images, tmp_path, small_file, rows):
    import vlad as library

    out = tmp_path / "run"
    assert vlad(images, "--normal", images / "0.png", "--maps", "npy", "--out", out).exit_code == 0
    detector = library.load("memory", backbone=str(small_file), device="cpu")
    scores = detector.fit(images / "0.png").score(images)
    np.testing.assert_allclose(
        [float(r["memory"]) for r in rows(out)], scores.image_score, atol=1e-6
    )
    stored = read_map(out / "maps" / "memory" / "5.npy")
    assert stored.shape == Image.open(images / "5.png").size[::-1]
    assert abs(stored.max() - scores.anomaly_map[5].max()) < 1e-2


def test_the_built_in_backbone_is_for_trying_out(vlad, images, tmp_path, small_file):
    for backbone, said in (("vlad-tiny", 1), (str(small_file), 0)):
        out = tmp_path / str(said)
        done = vlad(images / "1.png", "--normal", images / "0.png", "--out", out, backbone=backbone)
        assert done.exit_code == 0, done.output
        assert done.stderr.count("Note: vlad-tiny is for trying out") == said


def test_bad_images_become_rows(vlad, images, tmp_path, rows):
    (images / "a_empty.png").touch()
    (images / "b_text.png").write_text("no image")
    whole = (images / "0.png").read_bytes()
    (images / "c_cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (1, 1)).save(images / "d_dot.png")
    Image.new("1", (20_000, 20_000)).save(images / "e_huge.png")
    out = tmp_path / "run"
    done = vlad(images, "--category", "nut", "--out", out)
    assert done.exit_code == 0, done.output
    assert "6 images scored, 5 failed" in done.output
    bad = {row["path"]: row for row in rows(out) if row["error"]}
    assert [os.path.basename(path)[0] for path in bad] == ["a", "b", "c", "d", "e"]
    assert all(row["winclip"] == "" for row in bad.values())
    assert "400" in bad[str(images / "e_huge.png")]["error"]
    page = (out / "report.html").read_text()
    assert "e_huge.png" in page

    again = tmp_path / "again"
    assert vlad(images, "--category", "nut", "--out", again, "--fail").exit_code == 1
    assert len(rows(again)) == 11


def test_the_pixel_limit_can_be_raised_and_lowered(vlad, images, tmp_path, rows):
    out = tmp_path / "run"
    vlad(images, "--category", "nut", "--max-pixels", 10_000, "--out", out)
    refused = [row for row in rows(out) if "pixels" in row["error"]]
    assert 0 < len(refused) <= 6


def test_a_manifest_names_images_and_categories(vlad, images, tmp_path, rows):
    manifest = images / "list.csv"
    manifest.write_text("path,category\n0.png,bolt\n1.png,nut\nmissing.png,nut\n")
    out = tmp_path / "run"
    done = vlad(manifest, "--out", out)
    assert done.exit_code == 0, done.output
    assert [bool(row["error"]) for row in rows(out)] == [False, False, True]
    bolts = tmp_path / "bolts"
    vlad(images / "0.png", images / "1.png", "--category", "bolt", "--out", bolts)
    # other batches round otherwise
    found = [[float(rows(folder)[i]["winclip"]) for i in range(2)] for folder in (bolts, out)]
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    assert found[0][1] != pytest.approx(found[1][1], abs=1e-5)


def test_a_bank_of_ones_own_changes_the_scores(vlad, images, tmp_path, rows):
    bank = tmp_path / "mine.toml"
    bank.write_text(
        'title = "Mine"\nsource = "me"\nlicence = "CC0-1.0"\ntemplates = ["a scan of {}"]\n'
        'states = { normal = ["a healthy {}"], anomalous = ["a sick {}"] }\n'
    )
    vlad(images, "--category", "nut", "--out", tmp_path / "a")
    done = vlad(images, "--category", "nut", "--bank", bank, "--out", tmp_path / "b")
    assert done.exit_code == 0, done.output
    assert [r["winclip"] for r in rows(tmp_path / "a")] != [
        r["winclip"] for r in rows(tmp_path / "b")
    ]


def test_normal_takes_several_files_as_a_shell_expands_them(vlad, images, tmp_path, rows):
    out = tmp_path / "run"
    normal = [images / "0.png", images / "1.png", images / "2.png"]
    done = vlad(images / "5.png", "--normal", *normal, "--out", out)
    assert done.exit_code == 0, done.output
    assert len(rows(out)) == 1
    assert len(json.loads((out / "run.json").read_text())["references"]) == 3
    done = vlad("--normal", normal[0], images / "5.png", "--out", tmp_path / "other")
    assert done.exit_code == 0, done.output
    assert len(rows(tmp_path / "other")) == 1
    # here the shell may have expanded a pattern, and images to score be taken for normal ones
    done = vlad("--normal", *normal, "--out", tmp_path / "unclear", images / "5.png")
    assert done.exit_code == 2
    assert "PATH... --normal FILES" in done.stderr


def test_shots_are_drawn_by_seed_and_written_down(vlad, images, tmp_path):
    drawn = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        out = tmp_path / name
        options = ["--normal", images, "--k-shot", 3, "--seed", seed, "--out", out]
        assert vlad(images / "5.png", *options).exit_code == 0
        drawn.append(json.loads((out / "run.json").read_text())["references"])
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 3


def test_what_an_earlier_run_wrote_is_no_input(vlad, images, rows):
    for name in ("first", "second"):
        out = images / "runs" / name
        assert vlad(images, "--category", "nut", "--out", out).exit_code == 0
        if name == "first":
            assert vlad(images, "--category", "nut", "--out", out, "--resume").exit_code == 0
            assert len(rows(out)) == 6


def test_links_go_by_their_own_names(vlad, images, tmp_path, rows):
    out, links = tmp_path / "run", tmp_path / "links"
    links.mkdir()
    command = (links, "--normal", images / "0.png", "--out", out)
    for name in ("b", "a"):  # the later one is listed first, and lies in another folder
        store = tmp_path / f"of {name}"
        store.mkdir()
        os.link(images / "1.png", store / "image.png")
        (links / f"{name}.png").symlink_to(store / "image.png")
        done = vlad(*command, "--resume")
        assert done.exit_code == 0, done.output
    assert len(rows(out)) == 2
    run = RunFolder.open(out)
    assert {s.path.name: s.id for s in run.samples()} == {"a.png": "a", "b.png": "b"}
    assert all(map(run.maps, run.samples()))


def test_parameters_of_heads(vlad, images, tmp_path):
    out = tmp_path / "run"
    done = vlad(
        images, "--normal", images / "0.png", "--param", "memory.layers=[1, 2]",
        "--param", "memory.metric=squared_l2", "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    params = json.loads((out / "run.json").read_text())["params"]["memory"]
    assert (params["layers"], params["metric"]) == ([1, 2], "squared_l2")


def test_scores_alone(vlad, images, tmp_path, rows):
    out, whole = tmp_path / "run", tmp_path / "whole"
    options = ["--normal", images / "0.png", "--head", "memory,musc"]
    assert vlad(images, *options, "--out", whole).exit_code == 0
    assert vlad(images, *options, "--out", out, "--maps", "none").exit_code == 0
    assert (out / "scores.csv").read_bytes() == (whole / "scores.csv").read_bytes()
    for folder, hints in ((whole, 1), (out, 0)):
        assert (folder / "report.html").read_text().count('class="hint"') == hints
    assert {p.name for p in out.iterdir()} == {
        ".lock", "files.csv", "joint.sha256", "report.html", "run.json", "scores.csv",
        "scores.parquet", "seen.jsonl",
    }  # fmt: skip
    # as a kill leaves it; nothing that is there is scored again
    lines = (out / "scores.csv").read_text().splitlines(keepends=True)
    kept = lines[1].replace(lines[1].split(",")[1], "0.125")
    (out / "scores.csv").write_text("".join([lines[0], kept, *lines[2:4]]))
    (out / "joint.sha256").unlink()
    done = vlad(images, *options, "--out", out, "--maps", "none", "--resume")
    assert done.exit_code == 0, done.output
    assert (out / "scores.csv").read_text() == "".join([lines[0], kept, *lines[2:]])
    done = vlad(images, "--category", "nut", "--maps", "none", "--threshold", 0.5, "--out", out)
    assert done.exit_code == 2
    done = vlad(
        images, "--category", "nut", "--maps", "none", "--threshold", 0.5, "--overwrite",
        "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert rows(out)[0]["winclip_verdict"] in ("normal", "anomalous")
    done = vlad(
        images, "--category", "nut", "--maps", "none", "--threshold", 0.5, "--min-area", 3,
        "--out", tmp_path / "regions",
    )  # fmt: skip
    assert done.exit_code == 2 and "Regions are found in maps" in done.stderr


def test_a_pool_lets_musc_judge_images_one_by_one(vlad, images, tmp_path, small_file, rows):
    import vlad as library

    pool = [images / f"{i}.png" for i in range(4)]
    named = [x for path in pool for x in ("--pool", path)]
    out = tmp_path / "run"
    done = vlad(images / "4.png", "--head", "musc", *named, "--out", out)
    assert done.exit_code == 0, done.output
    assert "transductive" not in done.output
    detector = library.load("musc", backbone=str(small_file), device="cpu").fit(pool)
    expected = detector.score(images / "4.png").image_score
    np.testing.assert_allclose([float(r["musc"]) for r in rows(out)], expected, atol=1e-5)
    pool[0].write_bytes(pool[1].read_bytes())
    done = vlad(images / "4.png", "--head", "musc", *named, "--out", out, "--resume")
    assert done.exit_code == 2 and "pool" in done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nowhere/"], "nowhere"),
        (["EMPTY"], "EMPTY"),
        (["IMAGES", "--head", "nonsense"], "Unknown head 'nonsense'"),
        (["IMAGES", "--bank", "nonsense"], "Unknown prompt bank 'nonsense'"),
        (["IMAGES", "--category", "{}"], "category"),
        (["IMAGES", "--head", "winclip"], "--category"),
        (["IMAGES", "--head", "memory"], "--normal"),
        (["IMAGES", "--normal", "IMAGES", "--k-shot", "7"], "only 6"),
        (["IMAGES", "--k-shot", "2", "--category", "nut"], "--normal"),
        (["IMAGES", "--category", "nut", "--param", "winclip.nonsense=1"], "nonsense"),
        (["IMAGES", "--category", "nut", "--image-size", "65"], "multiple"),
        (["IMAGES", "--category", "nut", "--param", "winclip.windows=[5]"], "5×5"),
        (["IMAGES", "--category", "nut", "--param", "winclip.windows=2"], "windows is 2"),
        (["IMAGES", "--normal", "IMAGES", "--param", "memory.layers=foo"], "layers is 'foo'"),
        (["IMAGES", "--normal", "IMAGES", "--param", "memory.layers=[9]"], "Block 9"),
        (["IMAGES", "--normal", "IMAGES", "--param", "memory.top=-1"], "from 0 to 1"),
        (["IMAGES", "--normal", "IMAGES", "--param", "memory.coreset=2"], "above 0, up to 1"),
        (["IMAGES", "--normal", "IMAGES", "--param", "memory.coreset=0"], "above 0, up to 1"),
        (["IMAGES", "--normal", "IMAGES", "--param", "memory.rotations=0"], "from 1 to 360"),
        (["IMAGES", "--normal", "IMAGES", "--param", "memory.metric=foo"], "squared_l2"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    vlad, images, tmp_path, monkeypatch, args, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    named = [str(images) if arg == "IMAGES" else arg for arg in args]
    if "--category" not in named and "--normal" not in named and "--head" not in named:
        named += ["--category", "nut"]
    done = vlad(*named, "--out", "run")
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_images_against_each_other(vlad, images, tmp_path, dinov2_folder, rows):
    out = tmp_path / "run"
    done = vlad(images, "--normal", images / "0.png", "--head", "musc,memory", "--out", out)
    assert done.exit_code == 0, done.output
    assert "musc are transductive" in done.output
    assert all(row["musc"] and row["memory"] for row in rows(out))
    # normal images are shown to memory alone
    assert json.loads((out / "run.json").read_text())["protocol"] == {
        "musc": "transductive, zero-shot",
        "memory": "few-shot",
    }
    # no words are needed, so any backbone will do
    other = tmp_path / "other"
    done = vlad(images, "--head", "musc", "--out", other, backbone=str(dinov2_folder))
    assert done.exit_code == 0, done.output
    done = vlad(images, "--head", "musc", "--normal", images, "--out", tmp_path / "one")
    assert done.exit_code == 2
    assert "No head here uses normal images" in done.stderr
    done = vlad(images / "0.png", "--head", "musc", "--out", tmp_path / "one")
    assert done.exit_code == 2
    assert "only one" in done.stderr
    assert not (tmp_path / "one").exists()


def test_text_head_on_an_image_only_backbone(vlad, images, tmp_path, dinov2_folder):
    out = tmp_path / "run"
    done = vlad(images, "--category", "nut", "--out", out, backbone=str(dinov2_folder))
    assert done.exit_code == 2
    assert "no text encoder" in done.stderr
    assert not out.exists()
    done = vlad(images, "--normal", images, "--out", out, backbone=str(dinov2_folder))
    assert done.exit_code == 0, done.output


def test_unwritable_output_and_unknown_backbone(vlad, images, tmp_path):
    (tmp_path / "file").touch()
    done = vlad(images, "--category", "nut", "--out", tmp_path / "file" / "run")
    assert done.exit_code == 2
    assert "is a file" in done.stderr
    done = vlad(images, "--category", "nut", "--out", tmp_path / "run", backbone="nonsense")
    assert done.exit_code == 2
    assert "Unknown backbone 'nonsense'" in done.stderr


def test_without_weights_and_network_it_says_what_to_do(images, tmp_path, monkeypatch, vlad):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("VLAD_OFFLINE", "1")
    done = vlad(images, "--category", "nut", "--out", tmp_path / "run", backbone=None)
    assert done.exit_code == 2
    assert "--backbone vlad-tiny" in done.stderr
    assert not (tmp_path / "run").exists()


def test_maps_stranger_than_the_references_are_cut_and_counted_once(vlad, images, tmp_path, rows):
    # grey all over: no two patches of it differ by as much as the others from it
    plain = Image.new("RGB", (90, 90), (128, 128, 128))
    plain.save(tmp_path / "plain.png")
    args = (images, "--normal", tmp_path / "plain.png", "--head", "memory")
    done = vlad(*args, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    written = json.loads((tmp_path / "run" / "run.json").read_text())
    assert written["maps_cut"] == {"memory": 6}
    assert done.stderr.count("6 maps were cut at") == 1
    assert "store maps as npy" in done.stderr
    # a resumed run counts all, and none twice
    assert vlad(*args, "--out", tmp_path / "run", "--resume").exit_code == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == written
    whole = vlad(*args, "--out", tmp_path / "floats", "--maps", "npy")
    assert whole.exit_code == 0 and "cut at" not in whole.stderr
    assert rows(tmp_path / "floats") == rows(tmp_path / "run")
    (low, high) = written["map_ranges"]["memory"]
    cut, floats = (
        read_map(tmp_path / out / "maps" / "memory" / f"4.{kind}")
        for out, kind in (("run", "png"), ("floats", "npy"))
    )
    assert low == 0 and cut.max() == pytest.approx(high) and floats.max() > high
    np.testing.assert_allclose(cut, floats.clip(low, high), atol=high / 65535)


def test_without_normal_images_and_words_each_image_is_compared_with_itself(
    vlad, images, tmp_path, rows
):
    said = "No normal images, no category: head self_reference"
    out = tmp_path / "alone"
    done = vlad(images, "--out", out)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[0].startswith(said)
    assert {float(row["self_reference"]) > 0 for row in rows(out)} == {True}
    alone = [row["self_reference"] for row in rows(out)]
    vlad(images / "2.png", "--head", "self_reference", "--out", tmp_path / "one")
    assert float(rows(tmp_path / "one")[0]["self_reference"]) == pytest.approx(float(alone[2]))


def test_what_takes_the_place_of_self_reference(vlad, images, tmp_path, rows):
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"path,category\n{images / '0.png'},nut\n")
    said = "no category"
    for head, args in {
        "memory": [images, "--normal", images / "0.png"],
        "winclip": [images, "--category", "nut"],
        "winclip ": [manifest],
    }.items():
        out = tmp_path / head
        done = vlad(*args, "--out", out)
        assert done.exit_code == 0 and said not in done.output
        assert head.strip() in rows(out)[0]
    named = vlad(images, "--head", "self_reference", "--out", tmp_path / "named")
    assert named.exit_code == 0 and said not in named.output
