"""The patch memory gives the numbers of AnomalyDINO and PatchCore on the same features."""

import numpy as np
import pytest
import torch

from vlad.heads.memory import Memory, patchcore
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


def run(backbone, head, draw, category):
    """Scores and patch distances of the four test images against the two train images."""
    panel = Panel(backbone, {"head": head}, image_size=238)
    panel.fit(draw(f"{category}/train/good/{i:03d}.png") for i in range(2))
    return panel.score([panel.prepare(draw(f"{category}/test/{name}")) for name in TEST])["head"]


@pytest.mark.parametrize("category", ["bottle", "metal_nut"])
@pytest.mark.parametrize(("mode", "rotations"), [("norot", 1), ("rot", 8)])
def test_anomalydino_scores(backbone, expected, parity_image, category, mode, rotations):
    head = Memory(layers=(18,), rotations=rotations)
    found = run(backbone, head, parity_image, category)
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
    fit = head.fit

    def fit_on_the_reference_coreset(features):
        fit(features)
        bank = head.memory_["joined"]
        np.testing.assert_allclose(bank, expected[f"patchcore.{category}.bank_all"], atol=1e-4)
        # PatchCore draws its coreset at random; the rows it drew are given
        head.memory_ = {"joined": bank[expected[f"patchcore.{category}.coreset_idx"]]}
        return head

    head.fit = fit_on_the_reference_coreset
    found = run(backbone, head, parity_image, category)
    # squared distances reach 166: a few 1e-6 of that is what float32 keeps of them
    atol = 2e-5 * expected[f"patchcore.{category}.map"].max()
    np.testing.assert_allclose(
        found.image_score, expected[f"patchcore.{category}.score"], atol=atol, rtol=0
    )
    np.testing.assert_allclose(
        found.anomaly_map, expected[f"patchcore.{category}.map"], atol=atol, rtol=0
    )


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_a_coreset_of_shards_covers_as_promised(shards):
    rows = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))

    def memory(part, coreset):
        features = Features(None, {1: part[None]}, grid=(1, len(part)), size=(16, 16))
        return Memory(layers=(1,), metric="squared_l2", coreset=coreset).fit(features)

    whole = memory(rows, 0.05)
    parts = [memory(rows[i::shards], min(1.0, 0.05 * shards)) for i in range(shards)]
    union = Memory(layers=(1,), metric="squared_l2", coreset=0.05).fit_union(parts)
    assert len(union.memory_["1"]) == len(whole.memory_["1"]) == 20
    radius = [torch.cdist(rows, m.memory_["1"]).amin(dim=1).max() for m in (whole, union)]
    # greedy is at least the optimum, and shards are at most 4 times that
    assert radius[1] <= (1 if shards == 1 else 4) * radius[0]
