"""Images in tiles through scoring, pools, evaluation and detectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

import vlad
from vlad.errors import ImageError
from vlad.evaluation import Entry, evaluate_category
from vlad.heads import load_head
from vlad.images.tiles import WHOLE, Tiling
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import Pools, score_samples
from vlad.scoring.setup import Setup
from vlad.types import Sample

TILING = Tiling(48, 0.25)
HEADS = ("winclip", "memory", "musc")


@pytest.fixture(scope="module")
def panel(small_backbone):
    """Fits heads on images under a tiling."""

    def make(heads, normals, tiling):
        made = Panel(small_backbone, {name: load_head(name) for name in heads}, tiling=tiling)
        return made.fit(normals, ["memory"]) if "memory" in heads else made

    return make


def scored(panel, images, batch_size=8):
    """id -> Scored of images in memory; None is one that cannot be opened."""

    def open_image(path):
        if images[path] is None:
            raise ImageError(f"{path} is broken")
        return images[path]

    samples = [Sample(name, name, "nut") for name in images]
    pools, found = Pools(panel.tiling), {}
    options = {"batch_size": batch_size, "open_image": open_image, "pools": pools}
    for batch in score_samples(panel, samples, **options):
        found.update((s.sample.id, s) for s in batch)
    for batch in pools.scores():
        found.update((s.sample.id, joined(found[s.sample.id], s)) for s in batch)
    return {name: found[name] for name in images}


def joined(one, other):
    """What some heads and others say of the same image."""
    failure = one.failure or other.failure
    if failure:
        return replace(one, scores={}, maps={}, failure=failure)
    return replace(one, scores=one.scores | other.scores, maps=one.maps | other.maps)


def named(images):
    return {f"image {i}": image for i, image in enumerate(images)}


def same(one, other, atol=2e-6):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].scores == pytest.approx(other[name].scores, abs=atol)
        for head, found in one[name].maps.items():
            np.testing.assert_allclose(found, other[name].maps[head], atol=atol)


# --- scores and maps


def test_scores_and_maps_are_those_of_the_tiles_by_hand(panel, drawn):
    made = panel(HEADS, drawn[:2], TILING)
    found = scored(made, named(drawn[2:]))
    # each tile as an image by itself, compared by musc with all tiles of all images
    whole = panel(HEADS, [t for image in drawn[:2] for t in TILING.cut(image)], WHOLE)
    tiles = {
        (name, box): image.crop(box)
        for name, image in named(drawn[2:]).items()
        for box in TILING.boxes(image.size)
    }
    by_hand = scored(whole, tiles)
    for name, image in named(drawn[2:]).items():
        width, height = image.size
        own = {box: s for (of, box), s in by_hand.items() if of == name}
        assert len(own) >= 6
        for head in HEADS:
            total, weights = np.zeros((height, width)), np.zeros((height, width))
            for (left, top, right, bottom), tile in own.items():
                x, y = np.arange(right - left) + 0.5, np.arange(bottom - top)[:, None] + 0.5
                weight = np.minimum(x, x[::-1]) * np.minimum(y, y[::-1])
                resized = Image.fromarray(tile.maps[head]).resize(
                    (right - left, bottom - top), Image.BILINEAR
                )
                total[top:bottom, left:right] += weight * np.asarray(resized)
                weights[top:bottom, left:right] += weight
            np.testing.assert_allclose(found[name].maps[head], total / weights, atol=3e-6)
            best = max(tile.scores[head] for tile in own.values())
            assert found[name].scores[head] == pytest.approx(best, abs=2e-6)


def test_references_are_remembered_tile_by_tile(panel, drawn):
    memory = panel(["memory"], drawn[:2], TILING).heads["memory"].memory_
    cut = [tile for image in drawn[:2] for tile in TILING.cut(image)]
    by_hand = panel(["memory"], cut, WHOLE).heads["memory"].memory_
    assert memory.keys() == by_hand.keys()
    for name, rows in memory.items():
        assert len(rows) == len(cut) * 16
        torch.testing.assert_close(rows, by_hand[name], atol=1e-6, rtol=0)


def test_an_image_no_larger_than_a_tile_scores_as_without(panel, drawn):
    tiled, whole = (panel(HEADS, drawn[:2], tiling) for tiling in (Tiling(120, 0.5), WHOLE))
    found, expected = (scored(made, named(drawn)) for made in (tiled, whole))
    for name, image in named(drawn).items():
        assert found[name].scores == expected[name].scores
        for head, plain in expected[name].maps.items():
            resized = Image.fromarray(plain).resize(image.size, Image.BILINEAR)
            np.testing.assert_array_equal(found[name].maps[head], resized)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_neither_batches_nor_order_count(panel, drawn, batch_size):
    made = panel(HEADS, drawn[:2], TILING)
    images = named(drawn) | {"small": drawn[0].resize((20, 30))}
    backwards = dict(reversed(images.items()))
    expected = scored(made, images)
    same(scored(made, images, batch_size), expected)
    same(scored(made, backwards, batch_size), dict(reversed(expected.items())))


@pytest.mark.parametrize("size", [(32, 1700), (1700, 32), (1, 200), (49, 48)])
def test_any_proportions(panel, drawn, size):
    made = panel(["memory"], drawn[:1], TILING)
    (found,) = scored(made, {"strip": drawn[5].resize(size)}).values()
    assert found.size == size and found.error is None
    assert found.maps["memory"].shape == size[::-1]
    assert np.isfinite(found.maps["memory"]).all()


def test_a_broken_image_leaves_its_neighbours_alone(panel, drawn):
    made = panel(HEADS, drawn[:2], TILING)
    good = named(drawn)
    expected = scored(made, good)
    mixed = scored(made, {"first": None, **good, "last": None}, 4)
    assert {name for name, s in mixed.items() if s.error} == {"first", "last"}
    assert mixed["first"].error == "first is broken" and not mixed["first"].maps
    same({name: mixed[name] for name in good}, expected)


def test_one_image_of_several_tiles_is_enough_to_compare(panel, drawn):
    (found,) = scored(panel(["musc"], [], TILING), {"alone": drawn[4]}).values()
    assert found.error is None and found.maps["musc"].shape == drawn[4].size[::-1]
    (refused,) = scored(panel(["musc"], [], Tiling(200)), {"alone": drawn[4]}).values()
    assert "musc" in refused.error and not refused.maps


# --- metrics


def test_pixel_metrics_are_those_at_the_size_of_each_image(panel, small_backbone, drawn, tmp_path):
    samples, masks = [], {}
    for i, image in enumerate(drawn):
        image.save(tmp_path / f"{i}.png")
        mask = np.zeros(image.size[::-1], bool)
        if i > 3:
            mask[30:50, 40:70] = True
            Image.fromarray(mask).save(tmp_path / f"{i}_mask.png")
        masks[f"{i}"] = mask
        file = tmp_path / f"{i}_mask.png" if i > 3 else None
        samples.append(Sample(tmp_path / f"{i}.png", f"{i}", label=int(i > 3), mask=file))
    train, test = samples[:2], samples[2:]

    setup = Setup(tile=TILING.tile, overlap=TILING.overlap, batch_size=5)

    def measured(room):
        entries = [Entry("winclip", load_head("winclip")), Entry("musc", load_head("musc"))]
        entries.append(Entry("memory", load_head("memory"), k_shot=2))
        return evaluate_category(small_backbone, entries, "nut", train, test, setup, room=room)

    by_hand = scored(panel(HEADS, drawn[:2], TILING), {f"{i}": drawn[i] for i in range(2, 6)})
    labels = np.concatenate([masks[name].ravel() for name in by_hand])
    for exact, streamed in zip(measured(1 << 30), measured(0), strict=True):
        values = np.concatenate([s.maps[exact.head].ravel() for s in by_hand.values()])
        expected = {
            "pixel_auroc": roc_auc_score(labels, values),
            "pixel_ap": average_precision_score(labels, values),
        }
        for name, value in expected.items():
            assert exact.metrics[name] == pytest.approx(value, abs=1e-4)
        assert set(exact.bounds.values()) == {0}
        assert 0 <= exact.metrics["aupro"] <= 1
        assert streamed.metrics == pytest.approx(exact.metrics, abs=1e-6)
        assert (exact.tile, exact.overlap) == (48, 0.25)


# --- detectors


@pytest.fixture
def detector(small_file, drawn):
    options = {"backbone": str(small_file), "device": "cpu", "tile": 48, "overlap": 0.5}
    return vlad.load("memory", **options).fit(drawn[:2])


def test_a_detector_has_maps_at_the_size_of_its_images(detector, panel, drawn):
    found = detector.score(drawn)
    expected = scored(panel(["memory"], drawn[:2], Tiling(48, 0.5)), named(drawn))
    assert found.anomaly_map.dtype == object and found.image_score.dtype == np.float32
    for i, s in enumerate(expected.values()):
        assert found.image_score[i] == pytest.approx(s.scores["memory"], abs=2e-6)
        np.testing.assert_allclose(found.anomaly_map[i], s.maps["memory"], atol=2e-6)
    one_size = detector.score([drawn[3]] * 2).anomaly_map
    assert one_size.dtype == np.float32 and one_size.shape == (2, *drawn[3].size[::-1])


def test_it_is_saved_with_its_tiling_and_decides(detector, drawn, tmp_path):
    normals = [drawn[i].rotate(angle) for i in (2, 3) for angle in (0, 90, 180)]
    detector.calibrate(normals, false_alarms=0.2)
    loaded = vlad.Detector.load(detector.save(tmp_path / "saved"))
    assert (loaded.tile, loaded.overlap) == (48, 0.5)
    one, other = detector.score(drawn), loaded.score(drawn)
    np.testing.assert_array_equal(one.image_score, other.image_score)
    assert all(map(np.array_equal, one.anomaly_map, other.anomaly_map))
    threshold = loaded.calibration_.thresholds["memory"]
    assert loaded.predict(drawn).anomalous.tolist() == (one.image_score > threshold).tolist()
    highest = [found.max() for found in detector.score(normals).anomaly_map]
    assert detector.calibration_.map_thresholds["memory"] == pytest.approx(max(highest))


def test_a_joint_head_compares_tiles(small_file, panel, drawn):
    options = {"backbone": str(small_file), "device": "cpu", "tile": 48}
    found = vlad.load("musc", **options).score(drawn)
    expected = scored(panel(["musc"], [], TILING), named(drawn))
    assert found.image_score == pytest.approx(
        [s.scores["musc"] for s in expected.values()], abs=2e-6
    )
