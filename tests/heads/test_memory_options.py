"""The options of the head memory against a slow plain version, and what they refuse."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from memory_plain import plain, whitened

import vlad
from vlad.errors import HeadError
from vlad.heads import load_head, memory
from vlad.heads.memory import Memory
from vlad.heads.memory_gather import MemoryGather, layers_of
from vlad.heads.memory_layer import Layer
from vlad.maths.neighbours import greedy_coreset
from vlad.scoring.panel import Panel
from vlad.types import BackboneInfo, Features

INFO = BackboneInfo("any", 12, 8, 6, 16, 64, has_text=False)
GRID = (3, 5)


def drawn(count: int, seed: int, grid=GRID, channels: int = 6) -> Features:
    """Tokens that vary more in some channels, and embeddings."""
    generator = torch.Generator().manual_seed(seed)
    places = grid[0] * grid[1]
    patches = {
        n: torch.randn(count, places, channels, generator=generator)
        * torch.linspace(0.2, 3, channels)
        + n
        for n in (1, 2)
    }
    image = torch.randn(count, 4, generator=generator)
    return Features(image, patches, grid, (grid[0] * 8, grid[1] * 8))


def named(**options) -> Memory:
    """A head as options make it."""
    head = load_head("memory", **options)
    assert isinstance(head, Memory)
    return head


@pytest.fixture
def distances(monkeypatch):
    """(head, features) -> (B, h, w) distances of its patches."""
    monkeypatch.setattr(memory, "upsample", lambda grid_map, size, sigma: grid_map)
    return lambda head, features: head.score(features).anomaly_map


COMBINED = [
    {"position": position, "nearest_images": k, "whiten": whiten, "metric": metric}
    for position, k, whiten, metric in product(
        (None, 0, 1, 2, 9), (None, 1, 2), (False, True), ("cosine", "squared_l2")
    )
]


@pytest.mark.parametrize("options", COMBINED, ids=lambda x: "-".join(map(str, x.values())))
def test_every_combination_is_as_a_slow_plain_version_has_it(options, distances):
    head, normals, features = named(**options), drawn(3, 0), drawn(2, 1)
    head.fit(normals)
    found = distances(head, features)
    torch.testing.assert_close(found, plain(head, normals, features), atol=2e-5, rtol=1e-4)
    # alone as in company
    one = distances(head, features.at(1))
    torch.testing.assert_close(one, found[1:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", [{"position": 1}, {"nearest_images": 1}, {"whiten": True}])
def test_each_option_changes_distances(options, distances):
    normals, features = drawn(3, 0), drawn(2, 1)
    usual = distances(named().fit(normals), features)
    assert (distances(named(**options).fit(normals), features) - usual).abs().max() > 0.01


@pytest.mark.parametrize(
    "options",
    [{}, {"position": 1}, {"whiten": True}, {"metric": "squared_l2"}],
    ids=str,
)
def test_unlikeness_inside_an_image_is_as_a_slow_plain_version_has_it(options, distances):
    normals, features = drawn(3, 0), drawn(2, 1)
    head = named(self_reference=0.5, **options).fit(normals)
    found, expected = distances(head, features), plain(head, normals, features)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
    usual = named(**options).fit(normals)
    assert (found - distances(usual, features)).min() > 0.01 * found.max()
    # in the image score the border counts as it is; 1 % of 15 patches is one
    scores = plain(head, normals, features, border=lambda own, grid: own).flatten(1).amax(dim=1)
    torch.testing.assert_close(head.score(features).image_score, scores, atol=2e-5, rtol=1e-4)
    assert head.map_range[1] == pytest.approx(1.5 * usual.map_range[1], rel=1e-2)


def test_views_of_an_image_do_not_tell_how_images_differ(distances):
    normals, features = drawn(3, 0), drawn(2, 1)
    twice = Features.cat([normals.at(i // 2) for i in range(6)])
    head = named(self_reference=0.5).fit(normals)
    seen = named(self_reference=0.5, views=["horizontal_flip"]).fit(twice)
    torch.testing.assert_close(distances(seen, features), distances(head, features))


def test_one_image_does_not_tell_how_images_differ():
    head = named(self_reference=0.5).fit(drawn(1, 0))
    with pytest.raises(HeadError, match="there is one; give two or more"):
        head.score(drawn(2, 1))
    head.memory_ = head.merge(head.memory_, named(self_reference=0.5).fit(drawn(1, 1)).memory_)
    assert head.score(drawn(2, 1)).image_score.isfinite().all()


def test_few_of_many_images_are_compared_with_all_others_and_once(monkeypatch):
    seen, left_out = [], Layer.left_out
    monkeypatch.setattr(
        Layer, "left_out", lambda self, i, views: seen.append(i) or left_out(self, i, views)
    )
    head = named(self_reference=0.5, layers=[1]).fit(replace(drawn(20, 0), patches=one_layer(20)))
    for _ in range(2):
        head.score(replace(drawn(2, 1), patches=one_layer(2)))
    assert seen == [0, 2, 5, 7, 10, 12, 15, 17]


def one_layer(count: int) -> dict:
    return {1: drawn(count, 0).patches[1]}


@pytest.mark.parametrize(
    "options",
    [{"position": 1}, {"nearest_images": 1}, {"whiten": True}, {"self_reference": 1.0}],
    ids=str,
)
def test_an_image_without_numbers_leaves_the_others_alone(options, distances):
    head, features = named(**options).fit(drawn(3, 0)), drawn(3, 1)
    expected = distances(head, features)
    for x in (features.image, *features.patches.values()):
        x[1] = float("nan")
    found = distances(head, features)
    assert found[1].isnan().all()
    torch.testing.assert_close(found[[0, 2]], expected[[0, 2]], atol=1e-6, rtol=1e-5)


def test_equal_patches_inside_images_count_nothing(distances):
    tokens = torch.randn(3, 1, 6).expand(3, 15, 6)
    normals = Features(None, {1: tokens}, GRID, (24, 40))
    found = distances(named(self_reference=1.0).fit(normals), normals)
    torch.testing.assert_close(found, torch.zeros_like(found), atol=1e-6, rtol=0)


def test_neighbourhoods_join_and_masks_go_with_position(distances):
    normals, features = drawn(3, 0), drawn(2, 1)
    options = {"neighbourhood": 3, "join": True, "metric": "squared_l2"}
    head = named(position=1, **options).fit(normals)
    made = {n: dict(head.compared(x))["joined"] for n, x in ((1, normals), (2, features))}
    expected = plain(
        named(position=1, metric="squared_l2"),
        Features(None, {1: made[1]}, GRID, (24, 40)),
        Features(None, {1: made[2]}, GRID, (24, 40)),
    )
    torch.testing.assert_close(distances(head, features), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", COMBINED[::5], ids=lambda x: "-".join(map(str, x.values())))
def test_bfloat16_moves_distances_little(options, distances):
    head, features = named(**options).fit(drawn(3, 0)), drawn(2, 1)
    found = distances(head, replace(features, bfloat16=True))
    torch.testing.assert_close(found, distances(head, features), atol=1e-2, rtol=2e-2)


def test_more_images_than_remembered_are_all_of_them_and_said(distances):
    normals, features = drawn(3, 0), drawn(2, 1)
    usual = distances(named().fit(normals), features)
    with pytest.warns(UserWarning, match="nearest_images is 4, but it remembers 3 images"):
        found = distances(named(nearest_images=4).fit(normals), features)
    assert torch.equal(found, usual)
    assert torch.equal(distances(named(nearest_images=3).fit(normals), features), usual)


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
def test_batches_and_merged_parts_equal_a_fit_on_all(options, distances):
    normals, features = drawn(5, 0), drawn(2, 1)
    head = named(**options).fit(normals)
    expected = distances(head, features)
    gather = named(**options).gather()
    for i in range(5):
        gather.add(normals.at(i))
    gather.finish()
    torch.testing.assert_close(distances(gather.head, features), expected, atol=1e-5, rtol=1e-5)
    first = named(**options).fit(Features.cat([normals.at(i) for i in range(2)]))
    second = named(**options).fit(Features.cat([normals.at(i) for i in range(2, 5)]))
    first.memory_ = first.merge(first.memory_, second.memory_)
    assert first.memory_.keys() == head.memory_.keys()
    for name, x in first.memory_.items():
        torch.testing.assert_close(x, head.memory_[name], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(distances(first, features), expected, atol=1e-5, rtol=1e-5)
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
    assert found.memory_.keys() == whole.memory_.keys()
    for name, x in whole.memory_.items():
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
    assert {len(x) for x in gather.head.memory_.values()} == {limit}
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
    assert {len(x) for x in memory.values()} == {20}


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


@pytest.mark.parametrize("name", ["coreset", "limit", "mask_references"])
@pytest.mark.parametrize("needing", ["position", "nearest_images", "self_reference"])
def test_options_that_forget_places_are_refused(name, needing):
    value = {"coreset": 0.5, "limit": 9, "mask_references": True}[name]
    head = named(**{name: value, needing: 2})
    with pytest.raises(HeadError, match=f"with `{name}` .* leave out `{name}`, or `{needing}`"):
        head.spec(INFO)


def test_a_share_and_a_number_are_refused_together():
    with pytest.raises(HeadError, match="leave one of them out"):
        named(coreset=0.5, limit=9).spec(INFO)


@pytest.mark.parametrize(
    "options", [{"position": 1}, {"nearest_images": 1}, {"self_reference": 1}], ids=str
)
def test_other_grids_are_refused(options):
    head = named(**options).fit(drawn(2, 0))
    other = drawn(2, 1, grid=(5, 3))
    with pytest.raises(HeadError, match="3×5 patches an image, but one has 5×3"):
        head.score(other)
    with pytest.raises(HeadError, match="3×5 patches"):
        head.merge(head.memory_, named(**options).fit(other).memory_)
    gather = named(**options).gather()
    gather.add(drawn(2, 0))
    with pytest.raises(HeadError, match="3×5 patches"):
        gather.add(other)


def test_without_these_options_grids_may_differ():
    head = named().fit(drawn(2, 0))
    assert head.score(drawn(2, 1, grid=(5, 3))).image_score.isfinite().all()


def test_tokens_that_do_not_vary_cannot_be_whitened():
    same = drawn(2, 0)
    same = Features(None, {1: torch.ones(2, 15, 6)}, GRID, same.size)
    with pytest.raises(HeadError, match=r"memory .*all 30 are alike; give different ones"):
        named(whiten=True).fit(same)


def test_places_of_tiles_are_refused(small_backbone):
    from vlad.images.tiles import Tiling

    for options, fits in (({"position": 1}, False), ({"nearest_images": 1}, True)):
        heads = {"memory": named(**options)}
        if fits:
            Panel(small_backbone, heads, tiling=Tiling(32))
        else:
            with pytest.raises(HeadError, match=r"memory compares places .* leave out `tile`"):
                Panel(small_backbone, heads, tiling=Tiling(32))


@pytest.mark.parametrize(
    "options",
    [
        {"views": ["bend"]},
        {"views": "horizontal_flip"},
        {"position": -1},
        {"nearest_images": 0},
        {"limit": 0},
        {"self_reference": -0.1},
        {"whiten": 1},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(options):
    with pytest.raises(HeadError, match=f"{next(iter(options))} is .*; give "):
        named(**options)


WHOLE = {
    "position": {"position": 1},
    "nearest": {"nearest_images": 2},
    "whiten": {"whiten": True},
    "limit": {"limit": 20},
    "self": {"self_reference": 0.5, "views": ["horizontal_flip"]},
    "views": {"views": ["horizontal_flip", "colour_jitter"]},
    "all": {"position": 2, "nearest_images": 2, "whiten": True, "views": ["vertical_flip"]},
}


@pytest.mark.parametrize("options", WHOLE.values(), ids=WHOLE)
def test_a_saved_detector_scores_and_grows_alike(options, small_file, drawn, tmp_path):
    made = vlad.load("memory", backbone=str(small_file), device="cpu", **options).fit(drawn[:3])
    read = vlad.Detector.load(made.save(tmp_path))
    assert read.head_.map_range == made.head_.map_range
    for grow in (False, True):
        if grow:
            made.partial_fit(drawn[3:4])
            read.partial_fit(drawn[3:4])
        one, two = read.score(drawn), made.score(drawn)
        np.testing.assert_allclose(one.image_score, two.image_score, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(one.anomaly_map, two.anomaly_map, atol=1e-5, rtol=1e-5)
    if "limit" in options:
        kept = [made.head_.memory_[name] for name in layers_of(made.head_.memory_)]
        assert {len(x) for x in kept} == {20}
    else:
        whole = vlad.load("memory", backbone=str(small_file), device="cpu", **options)
        expected = whole.fit(drawn[:4]).score(drawn)
        np.testing.assert_allclose(two.image_score, expected.image_score, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", WHOLE.values(), ids=WHOLE)
def test_batch_size_and_order_do_not_change_scores(options, small_backbone, drawn):
    def scores(batch_size, order):
        head = named(**options)
        panel = Panel(small_backbone, {"m": head}, batch_size=batch_size).fit(drawn[:3])
        prepared = [panel.prepare(drawn[i]) for i in order]
        parts = [
            panel.score(prepared[at : at + batch_size])["m"]
            for at in range(0, len(order), batch_size)
        ]
        found = torch.cat([part.anomaly_map for part in parts])
        return found[torch.tensor(order).argsort()]

    expected = scores(6, list(range(6)))
    torch.testing.assert_close(scores(1, list(range(6))), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores(4, [3, 1, 5, 0, 2, 4]), expected, atol=1e-4, rtol=1e-4)


def test_averaged_layers_are_averaged_before_they_are_compared(small_backbone, drawn):
    """As VisionAD does, with its views; a plain loop over the tokens of each block."""
    head = named(layers=[[2, 3, 4]], rotations=4, views=["horizontal_flip", "vertical_flip"])
    panel = Panel(small_backbone, {"m": head}).fit(drawn[:2])
    (spec,) = panel.specs.values()
    each = named(layers=[2, 3, 4]).spec(small_backbone.info)
    from vlad.images.views import rotate

    turned = [[x, *(rotate(x, 90 * n) for n in (1, 2, 3))] for x in drawn[:2]]
    known = [
        view
        for x, views in zip(drawn[:2], turned, strict=True)
        for view in (*views, x.transpose(0), x.transpose(1))
    ]

    def tokens(images):
        prepared = [panel.extractor.prepare(x, [each]) for x in images]
        (found,) = panel.extractor.extract(prepared, [each])
        return torch.stack(list(found.patches.values())).mean(dim=0)

    rows, queries = tokens(known).flatten(0, 1), tokens(drawn[3:])
    cosine = torch.cosine_similarity(queries[:, :, None], rows, dim=-1).amax(dim=-1)
    found = panel.score([panel.prepare(x) for x in drawn[3:]])["m"].image_score
    assert spec.layers == ((2, 3, 4),)
    torch.testing.assert_close(found, (1 - cosine).amax(dim=1), atol=1e-4, rtol=0)
