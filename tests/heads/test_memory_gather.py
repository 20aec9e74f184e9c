"""The head memory read in batches, merged, and kept to a limit."""

import pytest
import torch
from memory_plain import drawn, named, whitened

from vlad.heads.memory_gather import MemoryGather, layers_of
from vlad.maths.neighbours import greedy_coreset
from vlad.types import Features

OPTIONS = [
    {},
    {"whiten": True},
    {"position": 1},
    {"nearest_images": 2},
    {"position": 1, "nearest_images": 2, "whiten": True, "metric": "squared_l2"},
    {"limit": 1000, "whiten": True},
    {"self_reference": 0.5, "whiten": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_batches_and_merged_parts_equal_a_fit_on_all(options, patch_distances):
    normals, features = drawn(5, 0), drawn(2, 1)
    head = named(**options).fit(normals)
    expected = patch_distances(head, features)
    gather = named(**options).gather()
    for i in range(5):
        gather.add(normals.at(i))
    gather.finish()
    torch.testing.assert_close(
        patch_distances(gather.head, features), expected, atol=1e-5, rtol=1e-5
    )
    first = named(**options).fit(Features.cat([normals.at(i) for i in range(2)]))
    second = named(**options).fit(Features.cat([normals.at(i) for i in range(2, 5)]))
    first.memory_ = first.merge(first.memory_, second.memory_)
    assert first.memory_.keys() == head.memory_.keys()
    for name, x in first.memory_.items():
        torch.testing.assert_close(x, head.memory_[name], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(patch_distances(first, features), expected, atol=1e-5, rtol=1e-5)
    assert first.map_range == head.map_range


def test_whitened_statistics_do_not_depend_on_what_is_kept():
    """A coreset or a limit forgets patches, not how all of them vary."""
    normals = drawn(6, 0)
    whole = named(whiten=True).fit(normals).memory_
    for options in ({"coreset": 0.2}, {"limit": 12}):
        gather = named(whiten=True, **options).gather()
        for i in range(6):
            gather.add(normals.at(i))
        gather.finish()
        found = gather.head.memory_
        assert len(found["1"]) < len(whole["1"])
        for name in whole:
            if "." in name:
                torch.testing.assert_close(found[name], whole[name])


def test_a_union_of_workers_has_the_statistics_of_all():
    normals = drawn(4, 0)
    parts = [
        named(whiten=True, coreset=0.5).fit(Features.cat([normals.at(i), normals.at(i + 2)]))
        for i in range(2)
    ]
    found = named(whiten=True, coreset=0.25).fit_union(parts)
    whole = named(whiten=True, coreset=0.25).fit(normals)
    expected = {name: x for name, x in whole.memory_.items() if ":" not in name}
    assert found.memory_.keys() == expected.keys()
    for name, x in expected.items():
        assert found.memory_[name].shape == x.shape
        if "." in name:
            torch.testing.assert_close(found.memory_[name], x, atol=1e-9, rtol=1e-9)


def test_a_limit_that_holds_all_changes_nothing():
    normals = drawn(4, 0)
    for limit in (4 * 15, 1000):
        found = named(limit=limit).fit(normals).memory_
        assert all(torch.equal(x, found[name]) for name, x in named().fit(normals).memory_.items())


@pytest.mark.parametrize("whiten", [False, True])
def test_a_single_reduction_is_the_greedy_coreset_of_all(whiten):
    normals = drawn(4, 0)
    found = named(limit=31, whiten=whiten).fit(normals).memory_["1"]
    rows = named(whiten=whiten).fit(normals).memory_["1"]
    space = whitened(rows.double(), rows.double())[0] if whiten else rows
    assert torch.equal(found, rows[greedy_coreset(space, 31)])


@pytest.mark.parametrize("limit", [5, 20])
def test_what_is_held_does_not_grow_with_the_number_of_images(limit, monkeypatch):
    held = []
    add = MemoryGather.add

    def counted(self, features):
        add(self, features)
        held.append(max(sum(map(len, parts)) for parts in self.rows.values()))

    monkeypatch.setattr(MemoryGather, "add", counted)
    gather = named(limit=limit).gather()
    for seed in range(40):
        gather.add(drawn(1, seed))
    gather.finish()
    assert max(held) <= 2 * limit
    memory = gather.head.memory_
    assert {len(memory[name]) for name in layers_of(memory)} == {limit}
    # every patch that was there comes from an image, and different images have some
    of = [named().fit(drawn(1, seed)).memory_["1"] for seed in range(40)]
    from_image = [(torch.cdist(gather.head.memory_["1"], x).amin(dim=1) < 1e-6).any() for x in of]
    assert sum(from_image) > 2


@pytest.mark.parametrize("whiten", [False, True])
def test_a_limited_bank_does_not_depend_on_the_size_of_batches(whiten):
    normals = drawn(7, 0)
    gathers = [named(limit=20, whiten=whiten).gather() for _ in range(2)]
    gathers[0].add(normals)
    for i in range(7):
        gathers[1].add(normals.at(i))
    for gather in gathers:
        gather.finish()
    for name, x in gathers[0].head.memory_.items():
        assert torch.equal(x, gathers[1].head.memory_[name])


def test_a_limited_bank_stays_limited_when_images_are_added():
    head = named(limit=20).fit(drawn(2, 0))
    memory = head.merge(head.memory_, named(limit=20).fit(drawn(3, 1)).memory_)
    assert {len(memory[name]) for name in layers_of(memory)} == {20}


@pytest.mark.parametrize("limit", [10, 40])
def test_a_limited_bank_covers_what_it_saw(limit):
    parts = [drawn(1, seed) for seed in range(12)]
    rows = named().fit(Features.cat(parts)).memory_["1"]
    gather = named(limit=limit).gather()
    for part in parts:
        gather.add(part)
    gather.finish()
    farthest = torch.cdist(rows, gather.head.memory_["1"]).amin(dim=1).max()
    best = torch.cdist(rows, rows[greedy_coreset(rows, limit)]).amin(dim=1).max()
    assert farthest <= 4 * best
