"""MVTec AD 2: what `vlad eval` measures there, and the maps that it writes for the server."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, TiffImagePlugin

import vlad
from vlad.cli import main
from vlad.images.resize import resize_map
from vlad.metrics import aupro, seg_f1

PRIVATE = ["test_private/000_regular", "test_private/001_regular", "test_private_mixed/000_mixed"]


@pytest.fixture
def can(category, drawn, tmp_path):
    """A category in the layout of MVTec AD 2."""
    root = tmp_path / "mvtec_ad_2" / "can"
    category(root, normal=3)
    (root / "test").rename(root / "test_public")
    (root / "test_public/stain").rename(root / "test_public/bad")
    (root / "ground_truth").rename(root / "test_public/ground_truth")
    (root / "test_public/ground_truth/stain").rename(root / "test_public/ground_truth/bad")
    # nearly a reference image, so that the threshold is low and the small backbone flags some
    others = [drawn[0].copy(), *(image.rotate(90, expand=True) for image in drawn[1:4])]
    others[0].paste((0, 0, 0), (0, 0, 4, 4))
    for image, name in zip(others, ["validation/good/000_regular", *PRIVATE], strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / f"{name}.png")
    return root


@pytest.fixture
def run(small_file):
    def run(*args):
        options = ["--backbone", str(small_file), "--device", "cpu"]
        return CliRunner().invoke(main, ["eval", *map(str, args), *options])

    return run


@pytest.fixture
def detector(can, small_file):
    made = vlad.load("memory", backbone=str(small_file), device="cpu")
    return made.fit(can / "train" / "good")


def test_metrics_are_those_of_the_authors(run, can, detector, tmp_path):
    done = run(can.parent, "--head", "memory", "--json", tmp_path / "found.json")
    assert done.exit_code == 0, done.output
    assert "AUPRO 5 %" in done.stdout and "SegF1" in done.stdout
    (result,) = json.loads((tmp_path / "found.json").read_text())["results"]
    normal = detector.score(can / "validation").anomaly_map.astype(float)
    found = detector.score(can / "test_public" / "bad"), detector.score(can / "test_public/good")
    maps = np.concatenate([one.anomaly_map for one in found])
    masks = np.zeros(maps.shape, bool)
    for place, i in enumerate((4, 5)):
        drawn = Image.open(can / f"test_public/ground_truth/bad/{i}_mask.png")
        masks[place] = np.asarray(drawn.resize((64, 64), Image.Resampling.BILINEAR)) > 127
    expected = seg_f1(maps, masks, normal.mean() + 3 * normal.std())
    assert 0 < expected < 1
    assert result["metrics"]["seg_f1"] == pytest.approx(expected, abs=1e-6)
    assert result["metrics"]["aupro_0.05"] == pytest.approx(aupro(maps, masks, limit=0.05))
    assert result["bounds"]["aupro_0.05"] == 0
    assert "aupro" not in result["metrics"]


def test_bench_measures_the_same(run, can, small_file, tmp_path):
    assert run(can, "--head", "memory", "--k-shot", "2", "--json", tmp_path / "a").exit_code == 0
    (expected,) = json.loads((tmp_path / "a").read_text())["results"]
    options = ["--head", "memory", "--k-shot", "2", "--seeds", "0", "--out", tmp_path / "bench"]
    options += ["--backbone", small_file, "--device", "cpu"]
    done = CliRunner().invoke(main, ["bench", *map(str, [can.parent, *options])])
    assert done.exit_code == 0, done.output
    row = json.loads((tmp_path / "bench" / "results.jsonl").read_text())
    for name in ("aupro_0.05", "seg_f1"):
        assert row[f"metric.{name}"] == pytest.approx(expected["metrics"][name], abs=1e-6)
    assert "SegF1" in (tmp_path / "bench" / "bench.md").read_text()


def test_submission_holds_both_maps_of_every_private_image(
    run, can, detector, tmp_path, monkeypatch
):
    out = tmp_path / "upload"
    done = run(can.parent, "--head", "memory", "--submission", out)
    assert done.exit_code == 0, done.output
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert written == {
        *(f"anomaly_images/can/{name}.tiff" for name in PRIVATE),
        *(f"anomaly_images_thresholded/can/{name}.png" for name in PRIVATE),
    }
    normal = detector.score(can / "validation").anomaly_map.astype(float)
    # Pillow reads 16-bit whole numbers only
    half = (b"II", 1, (3,), 1, (16,), ())
    monkeypatch.setitem(TiffImagePlugin.OPEN_INFO, half, ("I;16", "I;16"))
    for name in PRIVATE:
        image = Image.open(can / f"{name}.png")
        own = resize_map(detector.score(can / f"{name}.png").anomaly_map[0], image.size)
        expected = (own.astype(float) - normal.mean()) / normal.std()
        with Image.open(out / "anomaly_images" / "can" / f"{name}.tiff") as stored:
            assert stored.tag_v2[339] == (3,) and stored.tag_v2[258] == (16,)
            values = np.asarray(stored).view("<f2")
        np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-3)
        mask = Image.open(out / "anomaly_images_thresholded" / "can" / f"{name}.png")
        assert mask.mode == "L" and mask.size == image.size
        near = np.abs(expected - 3) < 1e-4
        assert (np.asarray(mask) == np.where(expected > 3, 255, 0))[~near].all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--head", "memory,winclip"], "--submission needs one head"),
        (["--head", "musc"], "--submission needs one head"),
    ],
)
def test_heads_that_cannot_be_submitted(run, can, tmp_path, options, says):
    done = run(can, *options, "--submission", tmp_path / "upload")
    assert done.exit_code == 2 and says in done.output
    assert not (tmp_path / "upload").exists()


def test_only_sets_with_private_splits_and_new_folders(run, can, category, tmp_path):
    category(tmp_path / "nut", normal=3)
    done = run(tmp_path / "nut", "--head", "memory", "--submission", tmp_path / "upload")
    assert done.exit_code == 2 and "for data sets with private splits" in done.output
    (tmp_path / "upload").mkdir()
    (tmp_path / "upload" / "old.txt").touch()
    done = run(can, "--head", "memory", "--submission", tmp_path / "upload")
    assert done.exit_code == 2 and "is not a new or empty folder" in done.output


def test_every_private_image_is_needed(run, can, tmp_path):
    (can / f"{PRIVATE[1]}.png").write_bytes(b"torn")
    done = run(can, "--head", "memory", "--submission", tmp_path / "upload")
    assert done.exit_code == 2 and "a submission needs every image, but" in done.output


def test_heads_without_a_threshold_are_told_and_unusable_images_too(run, can):
    done = run(can, "--head", "musc")
    assert done.exit_code == 0 and "SegF1" not in done.stdout
    assert "set no threshold of pixels" in done.output
    (can / "validation/good/001_regular.png").write_bytes(b"torn")
    done = run(can, "--head", "memory")
    assert done.exit_code == 0 and "SegF1" in done.stdout
    assert "1 of the images for validation could not be used" in done.output
