"""Heads that describe normal images by Gaussians: against known programs, and their parts."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

import vlad
from vlad.errors import HeadError
from vlad.heads import load_head, mvg
from vlad.maths.maps import upsample
from vlad.types import Features


def features(tokens: np.ndarray, layers=(4, 8, 12), channels: int | None = None) -> Features:
    """(L, B, N, C) tokens on a square grid."""
    x = torch.from_numpy(tokens.astype(np.float32))[..., :channels]
    side = int(x.shape[2] ** 0.5)
    patches = dict(zip(layers, x, strict=True))
    return Features(image=None, patches=patches, grid=(side, side), size=(112, 112))


@pytest.fixture(scope="module")
def tokens(parity):
    return parity.case("heads_tokens")


def test_mvg_as_its_authors_have_it(parity, tokens):
    case = parity.case("gaussianad_tinydinov2_14")
    head = load_head("mvg").fit(features(tokens["train"]))
    found = head.score(features(tokens["test"]))
    np.testing.assert_allclose(found.image_score, case["full.score"], rtol=2e-5)
    for name, components in (("pca", "largest"), ("npca", "smallest")):
        head = load_head("mvg", components=components).fit(features(tokens["train"], channels=8))
        found = head.score(features(tokens["test"], channels=8))
        np.testing.assert_allclose(found.image_score, case[f"{name}.score"], rtol=2e-5)


def test_padim_as_a_known_program_has_it(parity, tokens):
    case = parity.case("padim_tinydinov2_14")
    # that program draws from 448 channels even where there are 576
    joined = {key: np.concatenate(list(x), axis=-1)[None, ..., :448] for key, x in tokens.items()}
    head = load_head("padim").fit(features(joined["train"], layers=(4,)))
    found = head.score(features(joined["test"], layers=(4,)))
    spread = case["dist"].std()
    np.testing.assert_allclose(found.image_score, case["score"], atol=1e-5 * spread, rtol=1e-5)
    np.testing.assert_allclose(found.anomaly_map[-1], case["map"], atol=1e-5 * spread, rtol=1e-5)


def features_of(count: int, seed: int, layers=(1, 2)) -> Features:
    generator = torch.Generator().manual_seed(seed)
    patches = {n: torch.randn(count, 9, 5, generator=generator) * n + n for n in layers}
    return Features(image=None, patches=patches, grid=(3, 3), size=(24, 24))


def test_mvg_against_scikit_learn():
    normal, queries = features_of(7, 0), features_of(3, 1)
    found = load_head("mvg").fit(normal).score(queries)
    distances = []
    for n, x in normal.patches.items():
        rows = x.double().mean(dim=1).numpy()
        fitted = LedoitWolf().fit(rows)
        distances.append(np.sqrt(fitted.mahalanobis(queries.patches[n].mean(dim=1).numpy())))
    np.testing.assert_allclose(found.image_score, np.mean(distances, axis=0), rtol=1e-5)


def test_the_map_of_mvg_holds_the_parts_of_the_distance(monkeypatch):
    """With patches that all speak against normal, their mean is the distance."""
    monkeypatch.setattr(mvg, "upsample", lambda grid_map, size, sigma: grid_map)
    normal, queries = features_of(7, 0, layers=(1,)), features_of(1, 1, layers=(1,))
    head = load_head("mvg").fit(normal)
    shifted = replace(queries, patches={1: queries.patches[1] + 100})
    found = head.score(shifted)
    torch.testing.assert_close(found.anomaly_map.mean(dim=(1, 2)), found.image_score)
    changed = shifted.patches[1].clone()
    changed[0, 4] += 100
    found = head.score(replace(queries, patches={1: changed}))
    assert found.anomaly_map.flatten().argmax() == 4


def test_two_images_are_enough_for_a_scale(monkeypatch):
    """What two images tell about directions is nothing, so that all count alike."""
    normal, queries = features_of(2, 0, layers=(1,)), features_of(3, 1, layers=(1,))
    found = load_head("mvg").fit(normal).score(queries).image_score
    rows = normal.patches[1].mean(dim=1)
    variance = (rows - rows.mean(dim=0)).square().mean()
    away = (queries.patches[1].mean(dim=1) - rows.mean(dim=0)).square().sum(dim=1)
    torch.testing.assert_close(found, (away / variance).sqrt())


def test_padim_against_a_plain_version():
    normal, queries = features_of(6, 0), features_of(3, 1)
    head = load_head("padim", channels=4)
    maps = head.fit(normal).score(queries).anomaly_map
    kept = random.Random(1024).sample(range(10), 4)
    join = lambda x: torch.cat(list(x.patches.values()), dim=-1)[..., kept].double().numpy()  # noqa: E731
    expected = np.empty((3, 9))
    for place in range(9):
        rows = join(normal)[:, place]
        inverse = np.linalg.inv(np.cov(rows.T) + 0.01 * np.eye(4))
        for i, x in enumerate(join(queries)[:, place] - rows.mean(axis=0)):
            expected[i, place] = np.sqrt(x @ inverse @ x)
    grid_map = torch.from_numpy(expected).float().unflatten(1, (3, 3))
    torch.testing.assert_close(maps, upsample(grid_map, (24, 24), sigma=4.0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["mvg", "padim"])
def test_batches_and_parts_are_one_fit(name):
    images, queries = features_of(7, 0), features_of(3, 1)
    whole = load_head(name).fit(images)
    expected = whole.score(queries)
    parts = [load_head(name) for _ in range(3)]
    for head, places in zip(parts, ([0, 1, 2], [3, 4], [5, 6]), strict=True):
        gather = head.gather()
        for place in places:
            gather.add(images.at(place))
        gather.finish()
    memory = parts[0].merge(parts[0].merge(parts[0].memory_, parts[1].memory_), parts[2].memory_)
    parts[0].memory_ = memory
    found = parts[0].score(queries)
    torch.testing.assert_close(found.image_score, expected.image_score, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.anomaly_map, expected.anomaly_map, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["mvg", "padim"])
def test_normal_images_that_tell_nothing(name):
    head, query = load_head(name), features_of(1, 1)
    with pytest.raises(HeadError, match="fit it, or give `normal`"):
        head.score(query)
    one = features_of(1, 0)
    with pytest.raises(HeadError, match="but there is one; give two or more"):
        head.fit(one).score(query)
    # as many as it says are enough
    enough = head.fit(features_of(head.least_normals, 2)).score(query)
    assert enough.image_score.isfinite().all()
    with pytest.raises(HeadError, match="all 2 are alike"):
        head.fit(Features.cat([one, one])).score(query)
    broken = features_of(3, 0)
    broken.patches[1][0] = float("nan")
    with pytest.raises(HeadError, match="no numbers"):
        head.fit(broken).score(query)


def test_mvg_with_components_of_one_image():
    with pytest.raises(HeadError, match="but there is one; give two or more"):
        load_head("mvg", components="largest").fit(features_of(1, 0))


def test_padim_on_another_grid():
    head = load_head("padim").fit(features_of(3, 0))
    other = Features(
        image=None,
        patches={n: x[:, :4] for n, x in features_of(1, 1).patches.items()},
        grid=(2, 2),
        size=(16, 16),
    )
    with pytest.raises(HeadError, match="learned 9 places of 10 channels, but the image has 4"):
        head.score(other)


def test_scales_of_maps_are_those_of_normal_images():
    """Each channel of a normal image adds about 1 to the square of its distance."""
    images = features_of(6, 0, layers=(1,))
    assert load_head("mvg").fit(images).map_range == (0, pytest.approx(10 * 5**0.5))
    assert load_head("padim").fit(images).map_range == (0, pytest.approx(4 * 5**0.5))


def test_a_detector_takes_one_more_image(small_file, drawn):
    def made():
        return vlad.load("mvg", backbone=str(small_file), device="cpu")

    whole = made().fit(drawn[:4]).score(drawn[4:]).image_score
    added = made().fit(drawn[:3]).partial_fit(drawn[3]).score(drawn[4:]).image_score
    np.testing.assert_allclose(added, whole, rtol=1e-4)
