"""The options of the head memory against a slow plain version."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from memory_plain import GRID, drawn, named, plain

from vlad.errors import HeadError
from vlad.heads.memory_layer import Layer
from vlad.types import Features

COMBINED = [
    {"position": position, "nearest_images": k, "whiten": whiten, "metric": metric}
    for position, k, whiten, metric in product(
        (None, 0, 1, 2, 9), (None, 1, 2), (False, True), ("cosine", "squared_l2")
    )
]


@pytest.mark.parametrize("options", COMBINED, ids=lambda x: "-".join(map(str, x.values())))
def test_every_combination_is_as_a_slow_plain_version_has_it(options, patch_distances):
    head, normals, features = named(**options), drawn(3, 0), drawn(2, 1)
    head.fit(normals)
    found = patch_distances(head, features)
    torch.testing.assert_close(found, plain(head, normals, features), atol=2e-5, rtol=1e-4)
    # alone as in company
    one = patch_distances(head, features.at(1))
    torch.testing.assert_close(one, found[1:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", [{"position": 1}, {"nearest_images": 1}, {"whiten": True}])
def test_each_option_changes_patch_distances(options, patch_distances):
    normals, features = drawn(3, 0), drawn(2, 1)
    usual = patch_distances(named().fit(normals), features)
    assert (patch_distances(named(**options).fit(normals), features) - usual).abs().max() > 0.01


@pytest.mark.parametrize(
    "options",
    [{}, {"position": 1}, {"whiten": True}, {"metric": "squared_l2"}],
    ids=str,
)
def test_unlikeness_inside_an_image_is_as_a_slow_plain_version_has_it(options, patch_distances):
    normals, features = drawn(3, 0), drawn(2, 1)
    head = named(self_reference=0.5, **options).fit(normals)
    found, expected = patch_distances(head, features), plain(head, normals, features)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
    usual = named(**options).fit(normals)
    assert (found - patch_distances(usual, features)).min() > 0.01 * found.max()
    # in the image score the border counts as it is; 1 % of 15 patches is one
    scores = plain(head, normals, features, border=lambda own, grid: own).flatten(1).amax(dim=1)
    torch.testing.assert_close(head.score(features).image_score, scores, atol=2e-5, rtol=1e-4)
    assert head.map_range[1] == pytest.approx(1.5 * usual.map_range[1], rel=1e-2)


def test_views_of_an_image_do_not_tell_how_images_differ(patch_distances):
    normals, features = drawn(3, 0), drawn(2, 1)
    twice = Features.cat([normals.at(i // 2) for i in range(6)])
    head = named(self_reference=0.5).fit(normals)
    seen = named(self_reference=0.5, views=["horizontal_flip"]).fit(twice)
    torch.testing.assert_close(patch_distances(seen, features), patch_distances(head, features))


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
def test_an_image_without_numbers_leaves_the_others_alone(options, patch_distances):
    head, features = named(**options).fit(drawn(3, 0)), drawn(3, 1)
    expected = patch_distances(head, features)
    for x in (features.image, *features.patches.values()):
        x[1] = float("nan")
    found = patch_distances(head, features)
    assert found[1].isnan().all()
    torch.testing.assert_close(found[[0, 2]], expected[[0, 2]], atol=1e-6, rtol=1e-5)


def test_equal_patches_inside_images_count_nothing(patch_distances):
    tokens = torch.randn(3, 1, 6).expand(3, 15, 6)
    normals = Features(None, {1: tokens}, GRID, (24, 40))
    found = patch_distances(named(self_reference=1.0).fit(normals), normals)
    torch.testing.assert_close(found, torch.zeros_like(found), atol=1e-6, rtol=0)


def test_neighbourhoods_join_and_masks_go_with_position(patch_distances):
    normals, features = drawn(3, 0), drawn(2, 1)
    options = {"neighbourhood": 3, "join": True, "metric": "squared_l2"}
    head = named(position=1, **options).fit(normals)
    made = {n: dict(head.compared(x))["joined"] for n, x in ((1, normals), (2, features))}
    expected = plain(
        named(position=1, metric="squared_l2"),
        Features(None, {1: made[1]}, GRID, (24, 40)),
        Features(None, {1: made[2]}, GRID, (24, 40)),
    )
    torch.testing.assert_close(patch_distances(head, features), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", COMBINED[::5], ids=lambda x: "-".join(map(str, x.values())))
def test_bfloat16_moves_distances_little(options, patch_distances):
    head, features = named(**options).fit(drawn(3, 0)), drawn(2, 1)
    found = patch_distances(head, replace(features, bfloat16=True))
    torch.testing.assert_close(found, patch_distances(head, features), atol=1e-2, rtol=2e-2)


def test_more_images_than_remembered_are_all_of_them_and_said(patch_distances):
    normals, features = drawn(3, 0), drawn(2, 1)
    usual = patch_distances(named().fit(normals), features)
    with pytest.warns(UserWarning, match="nearest_images is 4, but it remembers 3 images"):
        found = patch_distances(named(nearest_images=4).fit(normals), features)
    assert torch.equal(found, usual)
    assert torch.equal(patch_distances(named(nearest_images=3).fit(normals), features), usual)


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
