"""The null baseline: what it computes, and that no backbone has a part in it."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, zoom

import vlad
from vlad.backbones import load_backbone
from vlad.backbones.backbone import Backbone
from vlad.heads import load_head
from vlad.images.statistics import cells, summary
from vlad.scoring.panel import Panel


def panel(backbone, images, *names, **options):
    heads = {name: load_head(name) for name in names or ["statistics"]}
    return Panel(backbone, heads, **options).fit(images)


def score(made, images):
    return made.score([made.prepare(image) for image in images])["statistics"]


def plain(normals, image):
    """The image score and the distances of the cells, value by value."""
    known, seen = [cells(x).astype(float) for x in normals], cells(image).astype(float)
    h, w, count = seen.shape
    mean, here = np.zeros((h, w, count)), np.zeros((h, w, count))
    for i in range(h):
        for j in range(w):
            mean[i, j] = sum(x[i, j] for x in known) / len(known)
    for i in range(h):
        for j in range(w):
            around = [
                x[min(max(i + down, 0), h - 1), min(max(j + right, 0), w - 1)]
                for x in known
                for down in (-1, 0, 1)
                for right in (-1, 0, 1)
            ]
            here[i, j] = sum((y - mean[i, j]) ** 2 for y in around) / len(around)
    everywhere = here.reshape(-1, count).mean(axis=0)
    distances = np.zeros((h, w))
    for i in range(h):
        for j in range(w):
            variance = here[i, j] / 2 + everywhere / 2 + 1e-6
            distances[i, j] = math.sqrt(np.mean((seen[i, j] - mean[i, j]) ** 2 / variance))
    whole = [summary(x) for x in known]
    middle = sum(whole) / len(whole)
    squares = sum((x - middle) ** 2 for x in whole)
    variance = (squares + 4 * np.tile(everywhere, 5)) / (len(whole) + 3) + 1e-6
    of_all = math.sqrt(np.mean((summary(seen) - middle) ** 2 / variance))
    return np.sort(distances, axis=None)[-2:].mean() + of_all, distances  # 1 % of 256 cells


@pytest.mark.parametrize("count", [1, 3])
def test_against_a_plain_computation(small_backbone, drawn, count):
    found = score(panel(small_backbone, drawn[:count]), drawn[3:])
    for place, image in enumerate(drawn[3:]):
        expected, distances = plain(drawn[:count], image)
        assert found.image_score[place] == pytest.approx(expected, rel=1e-4)
        full = zoom(distances, 4, order=1, mode="nearest", grid_mode=True)
        np.testing.assert_allclose(
            found.anomaly_map[place], gaussian_filter(full, 4), rtol=1e-3, atol=1e-3
        )


def test_maps_reach_from_0_to_10_standard_deviations():
    assert load_head("statistics").map_range == (0, 10)


def test_normal_images_are_near_and_the_others_far(small_backbone, drawn):
    found = score(panel(small_backbone, drawn[:1]), drawn)
    assert found.image_score[0] == 0
    assert found.image_score[1:].min() > 1


def test_no_backbone_has_a_part_in_it(small_backbone, drawn, monkeypatch):
    def none(*args, **options):
        raise AssertionError("a pass of the backbone")

    monkeypatch.setattr(Backbone, "forward", none)
    tiny = score(panel(load_backbone("vlad-tiny", "cpu"), drawn[:2]), drawn)
    small = score(panel(small_backbone, drawn[:2]), drawn)
    assert torch.equal(tiny.image_score, small.image_score)
    assert small.anomaly_map.shape == (6, 64, 64)
    same_size = score(panel(small_backbone, drawn[:2], image_size=256), drawn)
    assert torch.equal(tiny.anomaly_map, same_size.anomaly_map)


@pytest.mark.parametrize("cached", [False, True])
def test_heads_beside_it_keep_their_features(small_backbone, drawn, tmp_path, cached):
    cache = str(tmp_path / "cache") if cached else None
    alone = panel(small_backbone, drawn[:2], "memory")
    expected = alone.score([alone.prepare(image) for image in drawn])["memory"]
    for names in (("statistics", "memory"), ("memory", "statistics"), ("statistics",)):
        made = panel(small_backbone, drawn[:2], *names, cache=cache)
        found = made.score([made.prepare(image) for image in drawn])
        assert list(found) == list(names)
        assert torch.equal(
            found["statistics"].image_score,
            score(panel(small_backbone, drawn[:2]), drawn).image_score,
        )
        if "memory" in names:
            torch.testing.assert_close(found["memory"].anomaly_map, expected.anomaly_map)


def test_a_saved_detector_scores_tiles(small_file, drawn, tmp_path):
    options = {"backbone": str(small_file), "device": "cpu", "tile": 64}
    made = vlad.load("statistics", **options).fit(drawn[:2])
    large = drawn[3].resize((160, 96))
    expected = made.score(large)
    assert expected.anomaly_map.shape == (1, 96, 160)
    made.save(tmp_path / "saved")
    found = vlad.Detector.load(tmp_path / "saved").score(large)
    np.testing.assert_array_equal(found.anomaly_map, expected.anomaly_map)
    np.testing.assert_array_equal(found.image_score, expected.image_score)
