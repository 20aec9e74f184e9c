"""Patches near the same place against a plain loop over all pairs."""

import pytest
import torch
import torch.nn.functional as F

from vlad.maths import neighbours
from vlad.maths.placed import PlacedBank


def slow(queries, images, reach, metric):
    (height, width), found = images.shape[1:3], []
    for one in queries:
        for p, x in enumerate(one):
            y = slice(max(0, p // width - reach), p // width + reach + 1)
            z = slice(max(0, p % width - reach), p % width + reach + 1)
            near = images[:, y, z].flatten(0, 2)
            if metric == "cosine":
                found.append(1 - torch.cosine_similarity(x[None], near).amax())
            else:
                found.append((x - near).square().sum(dim=-1).amin())
    return torch.stack(found).reshape(len(queries), height * width)


@pytest.mark.parametrize("block", [1, 50, 1 << 24])
@pytest.mark.parametrize("metric", ["cosine", "squared_l2"])
@pytest.mark.parametrize("reach", [0, 1, 3, 100])
@pytest.mark.parametrize("shape", [(1, 4, 6), (3, 5, 2), (2, 1, 7)])
def test_only_patches_within_reach_are_compared(block, metric, reach, shape, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(*shape, 5, generator=generator) + 1
    queries = torch.randn(2, shape[1] * shape[2], 5, generator=generator) + 1
    expected = slow(queries, images, reach, metric)
    if metric == "cosine":
        images = F.normalize(images, dim=-1)
    found = PlacedBank(images, reach, metric).nearest(queries)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    if metric == "cosine":
        found = PlacedBank(images, reach, metric, bfloat16=True).nearest(queries)
        torch.testing.assert_close(found, expected, atol=5e-3, rtol=1e-2)


def test_a_query_without_numbers_leaves_the_others_alone():
    images = F.normalize(torch.randn(2, 3, 3, 4), dim=-1)
    queries = torch.randn(1, 9, 4)
    expected = PlacedBank(images, 1, "cosine").nearest(queries)
    queries[0, 4] = float("nan")
    found = PlacedBank(images, 1, "cosine").nearest(queries)
    others = torch.arange(9) != 4
    assert found[0, 4].isnan() and torch.equal(found[:, others], expected[:, others])
