"""What the heads with a memory say of a region, against what happens if it is made normal."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from memory_plain import GRID, drawn, named, plain

from vlad.heads import load_head
from vlad.heads.memory_chosen import chosen_images
from vlad.types import Features, KnownKind, NearestPatch

PATCHES = GRID[0] * GRID[1]
OPTIONS = [
    {},
    {"top": 0.4},
    {"metric": "squared_l2", "top": 0.4},
    {"position": 1},
    {"nearest_images": 2, "top": 0.4},
    {"whiten": True, "top": 0.4},
    {"coreset": 0.3, "neighbourhood": 3, "join": True, "metric": "squared_l2", "top": 0},
    {"limit": 20, "top": 0.4},
    {"mask": "grid", "top": 0.4},
    {"rotations": 1, "views": ["vertical_flip"], "top": 0.4},
]


def regions_of(*cells: list[int]) -> torch.Tensor:
    made = torch.zeros(len(cells), PATCHES, dtype=torch.bool)
    for row, own in zip(made, cells, strict=True):
        row[own] = True
    return made


def nearest_rows(head, features, name, tokens):
    """(N, C) the remembered token that each of (N, C) is compared with, one by one."""
    layer, found = head.layer(name), []
    images = None if head.nearest_images is None else chosen_images(head, features)[0].tolist()
    for p, token in enumerate(tokens):
        best, row = float("inf"), None
        for m, other in enumerate(layer.source):
            image, q = divmod(m, PATCHES)
            away = max(abs(a - b) for a, b in zip(divmod(p, 5), divmod(q, 5), strict=True))
            if head.position is not None and away > head.position:
                continue
            if images is not None and image not in images:
                continue
            x, y = layer.space(token), layer.space(other)
            if layer.space.metric == "cosine":
                x, y = F.normalize(x, dim=0), F.normalize(y, dim=0)
            if (distance := (x - y).square().sum().item()) < best:
                best, row = distance, other
        found.append(row)
    return torch.stack(found)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_patches_replaced_by_their_nearest_lower_the_score_to_what_is_said(options, monkeypatch):
    normals, features = drawn(4, 0), drawn(1, 1)
    head = named(**options).fit(normals)
    regions = regions_of([0, 1, 2], [7], list(range(PATCHES)))
    said = head.without(features, None, regions)
    compared, seen = dict(head.compared(features)), head.on_object(features)
    other = {n: nearest_rows(head, features, n, x[0]) for n, x in compared.items()}
    for region, expected in zip(regions, said, strict=True):
        changed = [(n, torch.where(region[:, None], other[n], x)) for n, x in compared.items()]
        with monkeypatch.context() as patch:
            patch.setattr(head, "compared", lambda _, changed=changed: changed)
            patch.setattr(head, "on_object", lambda _: seen)
            found = head.score(features).image_score[0]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert said[2] == 0
    assert said.max() <= head.score(features).image_score[0] + 1e-6


@pytest.mark.parametrize("options", [*OPTIONS, {"self_reference": 0.5, "top": 0.3}], ids=str)
def test_contributions_sum_to_the_score_and_are_of_the_top_patches(options):
    head, features = named(**options).fit(drawn(4, 0)), drawn(1, 1)
    parts = head.contributions(features, None)
    assert parts.shape == (PATCHES,)
    torch.testing.assert_close(parts.sum(), head.score(features).image_score[0])
    assert (parts != 0).sum() <= max(1, int(head.top * PATCHES))


def test_what_changes_other_patches_too_is_not_said():
    head = named(self_reference=0.5).fit(drawn(4, 0))
    assert head.without(drawn(1, 1), None, regions_of([0])) is None


def planted(normals: Features, image: int, cell: int, at: int) -> Features:
    """An image that has, at a place, almost the patch of a normal image."""
    features = drawn(1, 9)
    patches = {
        n: x.index_put((torch.tensor(0), torch.tensor(at)), 1.01 * normals.patches[n][image, cell])
        for n, x in features.patches.items()
    }
    return replace(features, patches=patches)


@pytest.mark.parametrize("options", [{}, {"metric": "squared_l2"}, {"whiten": True}], ids=str)
def test_the_reference_patch_is_named_by_image_and_place(options):
    normals = drawn(4, 0)
    head = named(**options).fit(normals)
    (one,) = head.reasons(planted(normals, 2, 7, 11), None, regions_of([11]))[0]
    assert (one.image, one.view, one.cell, one.patch) == (2, 0, (1, 2), (2, 1))
    assert one.distance < 0.01


def test_the_worst_patch_of_a_region_is_told_by_the_distance_of_the_head():
    normals, features = drawn(4, 0), drawn(1, 1)
    head = named().fit(normals)
    distances = plain(head, normals, features).flatten()
    cells = [1, 4, 8, 13]
    (one,) = head.reasons(features, None, regions_of(cells))[0]
    worst = max(cells, key=lambda cell: distances[cell])
    assert one.patch == divmod(worst, 5)
    assert one.distance == pytest.approx(distances[worst].item(), abs=1e-5)


def test_views_come_after_their_image():
    normals = drawn(6, 0)  # of two images, each with two further views
    head = named(rotations=2, views=["vertical_flip"]).fit(normals)
    (one,) = head.reasons(planted(normals, 5, 3, 3), None, regions_of([3]))[0]
    assert (one.image, one.view, one.cell) == (1, 2, (0, 3))


def test_places_out_of_reach_and_images_not_chosen_are_not_named():
    normals = drawn(4, 0)
    far = planted(normals, 2, 0, 14)
    (one,) = named(position=1).fit(normals).reasons(far, None, regions_of([14]))[0]
    assert max(abs(a - b) for a, b in zip(one.cell, one.patch, strict=True)) <= 1
    like = replace(planted(normals, 2, 0, 0), image=normals.image[3:])
    (one,) = named(nearest_images=1).fit(normals).reasons(like, None, regions_of([0]))[0]
    assert one.image == 3


FORGETTING = [{"coreset": 0.5}, {"limit": 30}, {"mask_references": True, "mask": "grid"}]


@pytest.mark.parametrize("option", FORGETTING, ids=str)
@pytest.mark.parametrize("added", [False, True])
def test_a_kept_patch_is_named_by_the_image_that_it_is_of(option, added):
    normals = drawn(4, 0)
    head = named(**option)
    if added:
        head.fit(Features.cat([normals.at(i) for i in range(2)]))
        other = named(**option).fit(Features.cat([normals.at(i) for i in range(2, 4)]))
        head.memory_ = head.merge(head.memory_, other.memory_)
    else:
        head.fit(normals)
    all_of = F.normalize(normals.patches[2].flatten(0, 1), dim=-1)
    row = head.memory_["2"][len(head.memory_["2"]) // 2]
    image, cell = divmod(int((all_of - row).square().sum(dim=1).argmin()), PATCHES)
    (one,) = head.reasons(planted(normals, image, cell, 3), None, regions_of([3]))[0]
    assert (one.image, one.view, one.cell) == (image, 0, divmod(cell, 5))
    assert one.usual is None and one.note == ""


@pytest.mark.parametrize("option", FORGETTING, ids=str)
def test_a_memory_saved_without_the_origin_of_its_patches_says_so(option):
    head = named(**option).fit(drawn(4, 0))
    head.memory_ = {name: x for name, x in head.memory_.items() if ":" not in name}
    (one,) = head.reasons(drawn(1, 1), None, regions_of([3, 4]))[0]
    assert (one.image, one.view, one.cell, one.usual) == (None, None, None, None)
    assert one.note == (
        f"With `{next(iter(option))}` this head does not know which image a patch is of."
    )
    assert one.distance > 0
    # images added later do not make up for it
    head.memory_ = head.merge(head.memory_, named(**option).fit(drawn(2, 5)).memory_)
    assert head.reasons(drawn(1, 1), None, regions_of([3]))[0][0].image is None


def test_the_usual_distance_is_the_median_between_reference_images():
    normals = drawn(3, 0)
    head = named().fit(normals)
    apart = []
    for i in range(3):
        others = Features.cat([normals.at(j) for j in range(3) if j != i])
        apart.append(plain(named().fit(others), others, normals.at(i)).flatten())
    (one,) = head.reasons(drawn(1, 1), None, regions_of([0]))[0]
    assert one.usual == pytest.approx(torch.cat(apart).median().item(), abs=1e-5)
    placed = named(position=1).fit(normals).reasons(drawn(1, 1), None, regions_of([0]))[0][0]
    assert placed.usual > one.usual
    (alone,) = named().fit(normals.at(0)).reasons(drawn(1, 1), None, regions_of([0]))[0]
    assert alone.usual is None


def test_another_fit_has_another_usual_distance():
    head, regions = named(), regions_of([0])
    first = head.fit(drawn(3, 0)).reasons(drawn(1, 1), None, regions)[0][0].usual
    assert head.fit(drawn(3, 5)).reasons(drawn(1, 1), None, regions)[0][0].usual != first


def test_a_known_kind_comes_first_where_it_is_nearer():
    normals, defects = drawn(3, 0), drawn(2, 4)
    cover = torch.zeros(2, PATCHES)
    cover[0, 2] = cover[1, 6] = 1
    head = load_head("labelled", top=0.4).fit(normals).fit_known(defects, cover, ["dent", "crack"])
    features = planted(defects, 1, 6, 12)
    kind, nearest = head.reasons(features, None, regions_of([12]))[0]
    assert kind == KnownKind("crack", kind.distance, kind.normal)
    assert kind.distance < 0.01 < kind.normal
    assert isinstance(nearest, NearestPatch) and nearest.patch == (2, 2)
    normal = planted(normals, 1, 6, 12)
    first, second = head.reasons(normal, None, regions_of([12]))[0]
    assert (first.image, first.cell) == (1, (1, 1)) and isinstance(second, KnownKind)
    assert second.distance > second.normal


def test_shares_of_a_head_with_known_defects_count_their_weight():
    normals, defects, features = drawn(3, 0), drawn(1, 4), drawn(1, 1)
    cover = torch.zeros(1, PATCHES)
    cover[0, 2] = 1
    head = load_head("labelled", top=0.4, weight=3.0).fit(normals)
    with pytest.warns(UserWarning, match="was shown no known defects"):
        bare = head.contributions(features, None)
    head.fit_known(defects, cover, ["dent"])
    parts = head.contributions(features, None)
    torch.testing.assert_close(parts.sum(), head.score(features).image_score[0])
    assert parts.sum() >= bare.sum()
    assert head.without(features, None, regions_of(list(range(PATCHES)))) == 0


def test_without_known_defects_only_the_normal_patch_is_named():
    head = load_head("labelled").fit(drawn(3, 0))
    with pytest.warns(UserWarning, match="was shown no known defects"):
        (one,) = head.reasons(drawn(1, 1), None, regions_of([3]))[0]
    assert isinstance(one, NearestPatch)


def test_self_reference_names_a_patch_of_the_same_image():
    features = drawn(1, 1)
    tokens = {n: x.clone() for n, x in features.patches.items()}
    for x in tokens.values():
        x[0, 8] = 1.01 * x[0, 13]
    features = replace(features, patches=tokens)
    head = load_head("self_reference", top=0.4, rank=0.03)
    (one,) = head.reasons(features, None, regions_of([13]))[0]
    assert (one.image, one.view, one.cell, one.patch) == (None, None, (1, 3), (2, 3))
    assert one.distance < 0.01 < one.usual
    parts = head.contributions(features, None)
    torch.testing.assert_close(parts.sum(), head.score(features).image_score[0])
    assert head.without(features, None, regions_of([0])) is None
