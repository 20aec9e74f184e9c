"""Mutual comparison equals a plain loop over pairs, whatever the blocks."""

import pytest
import torch
import torch.nn.functional as F

from vlad.errors import OutputError
from vlad.maths.mutual import (
    block_pairs,
    block_side,
    distances_to_others,
    images_together,
    mean_distance,
    mutual_similarity,
    similarity_to,
)
from vlad.maths.precision import as_bfloat16
from vlad.system.room import holds
from vlad.system.spool import Spool


@pytest.fixture(scope="module")
def rows():
    torch.manual_seed(0)
    return F.normalize(torch.randn(7, 9, 16), dim=-1)


def slow(rows):
    found = torch.full((len(rows), len(rows), rows.shape[1]), -torch.inf)
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            if i != j:
                found[i, j] = (a @ b.T).amax(dim=1)
    return found


@pytest.mark.parametrize("images", [1, 2, 3, 7, 20])
def test_blocks_do_not_change_the_result(rows, images):
    found = mutual_similarity(rows, side=images)
    torch.testing.assert_close(found, slow(rows), atol=1e-6, rtol=0)


@pytest.mark.parametrize("images", [1, 3, 20])
def test_bfloat16_keeps_small_distances(images):
    torch.manual_seed(0)
    rows = F.normalize(torch.randn(7, 9, 256), dim=-1)
    rows[1] = F.normalize(rows[0] + 0.004 * torch.randn(9, 256), dim=-1)  # nearly the same image
    expected, half = slow(rows), as_bfloat16(rows)
    found = mutual_similarity(half, side=images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=4e-3, rtol=0)
    assert (found[0, 1] - expected[0, 1]).abs().max() < 4e-4
    torch.testing.assert_close(similarity_to(half[:1], half[1:], side=images)[0], found[0, 1:])


def test_each_pair_is_multiplied_once():
    for side in (1, 2, 5, 20):
        pairs = [
            (a, b) for i, j in block_pairs(11, side) for a in range(11)[i] for b in range(11)[j]
        ]
        assert len(pairs) == len(set(pairs)) == 11 * 10 // 2
        assert all(a < b for a, b in pairs)


@pytest.mark.parametrize("images", [1, 3, 20])
def test_new_images_against_others(rows, images):
    new, others = rows[:3], rows[3:]
    found = similarity_to(new, others, side=images)
    expected = torch.stack([torch.stack([(a @ b.T).amax(dim=1) for b in others]) for a in new])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_what_does_not_fit_memory_lies_in_a_file_and_counts_the_same(rows, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spool = Spool(memory=0)
    kept = spool.keep(rows)
    torch.testing.assert_close(kept, rows, atol=0, rtol=0)
    out = spool.empty((7, 7, 9))
    torch.testing.assert_close(mutual_similarity(kept, out), slow(rows), atol=1e-6, rtol=0)
    assert not list(tmp_path.iterdir())  # nothing is left behind even now


def test_no_place_for_temporary_files_is_a_sentence(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/no/such/folder")
    with pytest.raises(OutputError, match="TMPDIR"):
        Spool(memory=0).empty((10,))


def test_memory_is_used_first():
    spool = Spool(memory=100)
    spool.empty((20,))
    assert spool.free == 20
    spool.empty((20,))
    assert spool.free == 20


@pytest.mark.parametrize("together", [1, 3, 20])
def test_a_few_images_at_once_against_all_others(rows, together):
    def distance(near):
        return mean_distance(near, (0, 0.6))

    ticks = []
    found = distances_to_others(rows, distance, lambda: ticks.append(1), "cpu", together)
    each = slow(rows)
    expected = [distance(torch.cat([x[:i], x[i + 1 :]])[None])[0] for i, x in enumerate(each)]
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=0)
    assert len(ticks) == len(rows)


def test_blocks_grow_with_the_free_memory_of_a_gpu(monkeypatch):
    def side(free):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (free, 1 << 37))
        return block_side(225, "cuda")

    assert side(0) == block_side(225, "mps") == 18  # 64 MiB
    assert side(1 << 31) == 36
    assert side(1 << 36) == side(1 << 37) == 72  # 1 GiB is enough
    assert images_together(1000, 225, "cuda") == 1193
    assert block_side(225) == 9
    assert holds("cuda", torch.empty(1 << 20)) and not holds("cpu", torch.empty(1))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (1 << 22, 1 << 37))
    assert not holds("cuda", torch.empty(1 << 20))
