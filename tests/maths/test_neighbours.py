"""Blocked nearest neighbours and coresets against plain versions."""

import pytest
import torch
import torch.nn.functional as F

from vlad.maths import neighbours
from vlad.maths.neighbours import (
    Bank,
    greedy_coreset,
    mean_nearest_cosine,
    nearest_cosine,
    nearest_rows,
    widest,
)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 7, 5, generator=generator), torch.randn(40, 5, generator=generator) + 3


def bank_of(rows, metric, bfloat16=False):
    return Bank(F.normalize(rows, dim=-1) if metric == "cosine" else rows, metric, bfloat16)


def slow(queries, bank, metric):
    if metric == "cosine":
        return 1 - torch.cosine_similarity(queries[..., None, :], bank, dim=-1).amax(dim=-1)
    return (queries[..., None, :] - bank).square().sum(dim=-1).amin(dim=-1)


@pytest.mark.parametrize("metric", ["cosine", "squared_l2"])
@pytest.mark.parametrize("block", [1, 100, 1 << 24])
def test_any_block_size_gives_the_exact_distance(data, metric, block, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    queries, rows = data
    expected = slow(*data, metric)
    bank = bank_of(rows, metric)
    for _ in range(2):  # a search leaves the bank as it was
        torch.testing.assert_close(bank.nearest(queries), expected, atol=1e-5, rtol=1e-5)
    if metric == "cosine":
        torch.testing.assert_close(nearest_cosine(queries, rows), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "squared_l2"])
def test_a_known_row_has_no_distance(data, metric):
    _, bank = data
    found = bank_of(bank, metric).nearest(bank)
    assert (found >= 0).all()
    torch.testing.assert_close(found, torch.zeros(40), atol=1e-5, rtol=0)


@pytest.mark.parametrize("block", [1, 100, 1 << 24])
def test_bfloat16_moves_cosine_distances_little(data, block, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    monkeypatch.setattr(neighbours, "CONVERTED", 7)
    queries, rows = data
    bank = bank_of(rows, "cosine", bfloat16=True)
    found = bank.nearest(queries)
    assert found.dtype == torch.float32 and (found >= 0).all()
    torch.testing.assert_close(found, slow(queries, rows, "cosine"), atol=5e-3, rtol=1e-2)
    assert bank.nearest(rows).max() < 4e-3


def test_coreset_takes_the_farthest_row_each_time(data):
    _, bank = data
    chosen = greedy_coreset(bank, 8)
    assert len(set(chosen.tolist())) == 8
    for n in range(1, 8):
        left = torch.cdist(bank, bank[chosen[:n]]).amin(dim=1)
        torch.testing.assert_close(left[chosen[n]], left.amax())


def test_coreset_begins_with_the_row_farthest_from_the_mean(data):
    _, bank = data
    (first,) = greedy_coreset(bank, 1)
    assert first == (bank - bank.mean(dim=0)).norm(dim=1).argmax()


def test_coreset_of_equal_rows_repeats_none():
    assert sorted(greedy_coreset(torch.ones(4, 2), 4).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("block", [1, 100, 1 << 24])
def test_the_widest_pair_is_found_in_any_blocks(data, block, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    rows = data[1]
    assert widest(rows) == pytest.approx(torch.cdist(rows, rows).square().max().item(), rel=1e-5)
    # far from the origin, differences are what matters
    assert widest(rows + 100) == pytest.approx(widest(rows), rel=1e-4)
    assert widest(rows[:1]) == 0


@pytest.mark.parametrize("block", [1, 100, 1 << 24])
@pytest.mark.parametrize("count", [1, 3, 10_000])
def test_mean_of_the_nearest_in_any_blocks(data, block, count, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    queries, bank = data
    unit = [F.normalize(x, dim=-1) for x in (queries, bank)]
    expected = (1 - unit[0] @ unit[1].T).sort(dim=-1).values[..., :count].mean(dim=-1)
    torch.testing.assert_close(mean_nearest_cosine(2 * queries, 3 * bank, count), expected)


@pytest.mark.parametrize("block", [1, 100, 1 << 24])
def test_nearest_rows_and_their_distances(data, block, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    queries, rows = (F.normalize(x, dim=-1) for x in data)
    distance, nearest = nearest_rows(queries, rows)
    torch.testing.assert_close(distance, slow(queries, rows, "cosine"))
    cosine = torch.cosine_similarity(queries[..., None, :], rows, dim=-1)
    assert torch.equal(nearest, rows[cosine.argmax(dim=-1)])
    assert nearest_rows(rows[:3], rows)[0].min() >= 0
