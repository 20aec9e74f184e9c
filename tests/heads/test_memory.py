"""The patch memory gives the numbers of AnomalyDINO and PatchCore on the same features."""

import numpy as np
import pytest
import torch

from vlad.heads.memory import Memory
from vlad.heads.patchcore import patchcore
from vlad.maths.maps import upsample
from vlad.scoring.panel import Panel
from vlad.types import Features

TEST = ("defect/000.png", "defect/001.png", "good/000.png", "good/001.png")


@pytest.fixture(scope="module")
def backbone(parity_backbone):
    return parity_backbone("tinyl14_336")


@pytest.fixture(scope="module")
def expected(parity):
    return parity.case("memory_tinyl14_336")


def fitted(backbone, head, draw, category):
    """A panel that has seen the two train images."""
    panel = Panel(backbone, {"head": head}, image_size=238)
    return panel.fit(draw(f"{category}/train/good/{i:03d}.png") for i in range(2))


def scored(panel, draw, category):
    """Scores of the four test images."""
    return panel.score([panel.prepare(draw(f"{category}/test/{name}")) for name in TEST])["head"]


@pytest.mark.parametrize("category", ["bottle", "metal_nut"])
@pytest.mark.parametrize(("mode", "rotations"), [("norot", 1), ("rot", 8)])
def test_anomalydino_scores(backbone, expected, parity_image, category, mode, rotations):
    head = Memory(layers=(18,), rotations=rotations)
    found = scored(fitted(backbone, head, parity_image, category), parity_image, category)
    assert list(expected[f"adino.{mode}.{category}.names"]) == list(TEST)
    np.testing.assert_allclose(
        found.image_score, expected[f"adino.{mode}.{category}.score"], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(("category", "size"), [("bottle", (700, 700)), ("metal_nut", (480, 640))])
def test_anomalydino_map_at_the_size_of_the_image(expected, category, size):
    distance = torch.from_numpy(expected[f"adino.norot.{category}.patch_dist"])
    found = upsample(distance[:1].float(), size, sigma=4)
    np.testing.assert_allclose(
        found[0], expected[f"adino.norot.{category}.map_first"], atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("category", ["bottle", "metal_nut"])
def test_patchcore_maps_and_scores(backbone, expected, parity_image, category):
    head = patchcore(layers=(12, 18), coreset=None)
    panel = fitted(backbone, head, parity_image, category)
    bank = head.memory_["joined"]
    np.testing.assert_allclose(bank, expected[f"patchcore.{category}.bank_all"], atol=1e-4)
    # PatchCore draws its coreset at random; the rows it drew are given
    head.memory_ = {"joined": bank[expected[f"patchcore.{category}.coreset_idx"]]}
    found = scored(panel, parity_image, category)
    # squared distances reach 166: a few 1e-6 of that is what float32 keeps of them
    atol = 2e-5 * expected[f"patchcore.{category}.map"].max()
    np.testing.assert_allclose(
        found.image_score, expected[f"patchcore.{category}.score"], atol=atol, rtol=0
    )
    np.testing.assert_allclose(
        found.anomaly_map, expected[f"patchcore.{category}.map"], atol=atol, rtol=0
    )


def coreset_of(rows, share):
    features = Features(None, {1: rows[None]}, grid=(1, len(rows)), size=(16, 16))
    return Memory(layers=(1,), metric="squared_l2", coreset=share).fit(features)


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_a_coreset_of_shards_covers_as_promised(shards):
    rows = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    whole = coreset_of(rows, 0.05)
    parts = [coreset_of(rows[i::shards], min(1.0, 0.05 * shards)) for i in range(shards)]
    union = Memory(layers=(1,), metric="squared_l2", coreset=0.05).fit_union(parts)
    assert len(union.memory_["1"]) == len(whole.memory_["1"]) == 20
    radius = [torch.cdist(rows, m.memory_["1"]).amin(dim=1).max() for m in (whole, union)]
    # greedy is at least the optimum, and shards are at most 4 times that
    assert radius[1] <= (1 if shards == 1 else 4) * radius[0]


@pytest.mark.parametrize("sizes", [(200, 100, 100, 100), (40, *[20] * 15), (20, 300)])
def test_a_coreset_of_uneven_shards_is_no_larger(sizes):
    rows = torch.randn(sum(sizes), 8, generator=torch.Generator().manual_seed(0))
    kept = len(rows) // 10
    parts = [coreset_of(some, min(1.0, kept / len(some))) for some in rows.split(sizes)]
    union = Memory(layers=(1,), metric="squared_l2", coreset=0.1).fit_union(parts)
    assert len(union.memory_["1"]) == kept


def remembered(*layers, metric="cosine"):
    """A head that remembers the given rows of each layer."""
    patches = {n: torch.tensor(rows)[None].float() for n, rows in enumerate(layers, 1)}
    features = Features(None, patches, grid=(1, len(layers[0])), size=(16, 16))
    return Memory(layers=tuple(patches), metric=metric).fit(features)


# angles of 90 and 60 degrees at most; squared distances of 1 + 9 and 4 + 3
LAYERS = [[1, 0], [0, 3], [2, 2]], [[2, 0], [2, 0], [1, 3**0.5]]


def test_maps_end_at_the_largest_distance_within_the_memory():
    # the mean over layers
    assert remembered(*LAYERS).map_range == (0, pytest.approx((1 + 0.5) / 2))
    assert remembered(*LAYERS, metric="squared_l2").map_range == (0, pytest.approx((10 + 4) / 2))


def test_the_end_of_the_scale_follows_what_is_remembered():
    head = remembered(LAYERS[0])
    assert head.map_range == (0, 1)
    head.memory_ = {"1": torch.cat([head.memory_["1"], torch.tensor([[-1.0, 0.0]])])}
    assert head.map_range == (0, 2)
    assert head.to("cpu").map_range == (0, 2)


@pytest.mark.parametrize(("metric", "bound"), [("cosine", 2), ("squared_l2", 4 * 25)])
def test_patches_that_are_all_alike_leave_the_bound_of_the_metric(metric, bound):
    for rows in ([[3, 4]], [[3, 4]] * 5):
        assert remembered(rows, metric=metric).map_range == (0, bound)


def test_a_large_memory_is_compared_by_evenly_spaced_patches():
    rows = torch.nn.functional.normalize(torch.ones(10_000, 3) + torch.eye(3)[0] / 100, dim=-1)
    rows[-1], rows[5001] = -rows[0], -rows[0]
    head = Memory(layers=(1,))
    head.memory_ = {"1": rows}
    assert head.map_range == (0, 2)  # the last one is always among them
    # not all of 10,000 are compared: of these, 5000 and 5003 are, but none between them
    rows = rows.clone()
    rows[-1] = rows[0]
    rows[9000:] += torch.tensor([0.0, 0.3, 0.0])
    head.memory_ = {"1": torch.nn.functional.normalize(rows, dim=-1)}
    apart = 1 - head.memory_["1"][0] @ head.memory_["1"][-1]
    assert head.map_range == (0, pytest.approx(apart.item(), rel=5e-3))


def test_what_is_stranger_than_the_memory_lies_above_its_scale():
    head = remembered([[1, 0], [0.8, 0.6]])
    odd = Features(None, {1: torch.tensor([[[-1.0, 0.0]] * 4])}, grid=(2, 2), size=(16, 16))
    found = head.score(odd)
    assert head.map_range == (0, pytest.approx(0.2))
    assert found.anomaly_map.max() == pytest.approx(1.8, abs=1e-5)
    assert found.image_score[0] == pytest.approx(1.8, abs=1e-5)
