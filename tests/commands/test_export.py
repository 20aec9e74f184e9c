"""vlad export and --runtime through the command: graphs of a whole detector, and refusals."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch.nn.functional as F
from click.testing import CliRunner

import vlad
from vlad.cli import main

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture
def run(small_file):
    def run(verb, *args):
        return CliRunner().invoke(main, [verb, *map(str, args), "--backbone", str(small_file)])

    return run


@pytest.mark.parametrize("side", [64, 96])  # the backbone's own, and another
@pytest.mark.parametrize("head", ["winclip", "memory", "uniadet", "anomalyclip", "april_gan"])
def test_the_graph_is_the_detector(
    run, small_file, small_adapter, images, drawn, tmp_path, head, side
):
    args = ["--to", "onnx", "--head", head, "--image-size", side, "--out", tmp_path / "out"]
    options = {"backbone": str(small_file), "device": "cpu", "image_size": side}
    if head in ("winclip", "april_gan"):
        args += ["--category", "nut"]
        options["category"] = "nut"
    if head == "memory":
        args += ["--normal", images / "0.png"]
    if head in ("uniadet", "anomalyclip", "april_gan"):
        options["adapter"] = small_adapter(head)
        args += ["--adapter", options["adapter"]]
    done = run("export", *args)
    assert done.exit_code == 0, done.output
    assert "differs from torch by at most" in done.stdout

    detector = vlad.load(head, **options)
    if head == "memory":
        detector.fit(images / "0.png")
    expected = detector.score(drawn[5])
    card = json.loads((tmp_path / "out" / "export.json").read_text())
    assert card["input"]["shape"] == [1, 3, side, side]
    pixels = np.asarray(drawn[5].resize((side, side), 3), np.float32) / 255
    pixels = (pixels - card["input"]["mean"]) / card["input"]["std"]
    session = onnxruntime.InferenceSession(tmp_path / "out" / card["files"]["detector"])
    feed = {card["input"]["name"]: pixels.transpose(2, 0, 1)[None].astype(np.float32)}
    found = dict(zip(card["outputs"]["detector"], session.run(None, feed), strict=True))
    np.testing.assert_allclose(found["image_score"], expected.image_score, atol=1e-3)
    np.testing.assert_allclose(found["anomaly_map"], expected.anomaly_map, atol=1e-3)


def test_a_graph_chooses_reference_images_and_compares_places(
    run, small_file, images, drawn, tmp_path
):
    options = {"position": 1, "nearest_images": 1, "whiten": True, "self_reference": 0.5}
    words = [f"--param=memory.{name}={json.dumps(value)}" for name, value in options.items()]
    normals = [images / f"{i}.png" for i in range(3)]
    given = [word for path in normals for word in ("--normal", path)]
    out = tmp_path / "out"
    done = run("export", "--to", "onnx", "--head", "memory", *given, *words, "--out", out)
    assert done.exit_code == 0, done.output
    card = json.loads((out / "export.json").read_text())
    session = onnxruntime.InferenceSession(out / card["files"]["detector"])
    made = vlad.load("memory", backbone=str(small_file), device="cpu", **options).fit(normals)
    chosen = set()
    for image in drawn:
        expected = made.score(image)
        pixels = np.asarray(image.resize((64, 64), 3), np.float32) / 255
        pixels = (pixels - card["input"]["mean"]) / card["input"]["std"]
        feed = {card["input"]["name"]: pixels.transpose(2, 0, 1)[None].astype(np.float32)}
        found = dict(zip(card["outputs"]["detector"], session.run(None, feed), strict=True))
        np.testing.assert_allclose(found["anomaly_map"], expected.anomaly_map, atol=2e-3, rtol=1e-3)
        like = F.cosine_similarity(made.features(image).image, made.head_.memory_["images"])
        chosen.add(like.argmax().item())
    assert len(chosen) > 1  # not all images are compared with the same one


def test_export_through_the_entry_point_to_openvino(small_file, tmp_path, run_env):
    pytest.importorskip("openvino")
    done = subprocess.run(
        [sys.executable, "-m", "vlad", "export", "--to", "openvino", "--category", "nut",
         "--backbone", str(small_file), "--out", str(tmp_path / "out")],
        env=run_env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "backbone.xml", "backbone.bin", "detector.xml", "detector.bin", "export.json",
    }  # fmt: skip


def test_a_graph_that_departs_leaves_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setattr("vlad.scoring.export.TOLERANCE", 0.0)
    done = run("export", "--to", "onnx", "--category", "nut", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "deviates from torch" in done.stderr
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_said(run, small_adapter, images, tmp_path):
    for args, words in (
        (["--head", "memory"], "--normal"),
        (["--head", "winclip"], "--category"),
        (["--head", "winclip,memory"], "names several heads"),
        (
            ["--head", "adaclip", "--adapter", small_adapter("adaclip"), "--category", "nut"],
            "not a function of pixels alone",
        ),
        (["--head", "statistics", "--normal", images / "0.png"], "no graph to export"),
        (["--head", "anovl", "--category", "nut"], "no single graph to export"),
    ):
        done = run("export", "--to", "onnx", *args, "--out", tmp_path / "out")
        assert done.exit_code == 2
        assert words in done.stderr
    done = run("export", "--to", "onnx", "--category", "nut", "--out", images)
    assert done.exit_code == 2
    assert "not an empty folder" in done.stderr
    done = run("export", "--to", "onnx", "--head", "musc", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"backbone.onnx", "export.json"}


def test_a_run_names_its_runtime_and_is_not_resumed_by_another(run, images, tmp_path):
    args = [images, "--normal", images / "0.png", "--out", tmp_path / "out"]
    done = run("score", *args, "--runtime", "onnx")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out" / "run.json").read_text())["runtime"] == "onnx"
    done = run("score", *args, "--resume")
    assert done.exit_code == 2
    assert "runtime" in done.stderr
