"""MuSc gives the numbers of its authors' program, and of slow plain versions of its parts."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import vlad.heads.musc_pool as musc_pool
from vlad.errors import HeadError
from vlad.heads.musc import MuSc
from vlad.maths.mutual import mean_distance
from vlad.maths.neighbourhoods import lnamd, snamd
from vlad.maths.rescore import rescore
from vlad.scoring.panel import Panel
from vlad.types import Features


@pytest.fixture(scope="module")
def backbone(parity_backbone):
    return parity_backbone("tinyl14_336")


@pytest.fixture(scope="module")
def case(parity):
    return parity.case("musc_tinyl14_336")


@pytest.mark.parametrize("batch_size", [3, 7], ids=lambda size: f"batches of {size}")
def test_maps_and_scores(backbone, case, parity_scores, assert_parity, batch_size):
    assert_parity(parity_scores(backbone, MuSc, case, batch_size), case)


def test_parts_on_the_way(backbone, case, parity_image):
    panel = Panel(backbone, {"head": MuSc()}, image_size=238)
    prepared = [panel.prepare(parity_image(str(path))) for path in case["image_path"]]
    (features,) = panel.extractor.extract(prepared, list(panel.specs.values()))
    for layer, r in itertools.product((6, 24), (1, 3, 5)):
        rows = lnamd(features.patches[layer], (17, 17), r)
        np.testing.assert_allclose(rows[:2], case[f"lnamd.r{r}.layer{layer - 1}"], atol=1e-5)
        similarity = torch.stack(
            [
                torch.stack([(rows[i] @ rows[j].T).amax(dim=1) for j in range(7) if j != i])
                for i in range(7)
            ]
        )
        found = mean_distance(similarity, (0, 0.3))
        np.testing.assert_allclose(found, case[f"msm.r{r}.layer{layer - 1}"], atol=1e-5)


def make(count=6, grid=(4, 5), width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Features(
        image=torch.randn(count, 12, generator=generator),
        patches={n: torch.randn(count, 20, width, generator=generator) for n in (2, 4)},
        grid=grid,
        size=(40, 50),
    )


def part(features, index):
    return Features(
        image=features.image[index],
        patches={n: x[index] for n, x in features.patches.items()},
        grid=features.grid,
        size=features.size,
    )


def joint(head, *batches):
    pool = head.pool()
    for batch in batches:
        pool.add(batch)
    parts = list(pool.scores())
    assert [len(p) for p in parts] == [len(b.patches[4]) for b in batches]
    return torch.cat([p.image_score for p in parts]), torch.cat([p.anomaly_map for p in parts])


def assert_same(found, expected, atol=1e-5):
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=atol, rtol=0)


@pytest.mark.parametrize("r", [1, 3, 5])
def test_neighbourhoods_equal_the_pooling_of_unfolded_patches(r):
    tokens = make().patches[2]
    x = F.layer_norm(tokens, tokens.shape[1:]).transpose(1, 2).unflatten(2, (4, 5))
    unfolded = F.unfold(x, r, padding=r // 2).transpose(1, 2)  # channel-major (B, P, C·r·r)
    expected = F.normalize(F.adaptive_avg_pool1d(unfolded, 8), dim=-1)
    torch.testing.assert_close(lnamd(tokens, (4, 5), r), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("side", [1, 3])
def test_neighbours_of_the_second_version_weigh_by_their_distance(side):
    """Zeros beyond the border are neighbours too."""
    tokens, found = make().patches[2], torch.zeros(6, 20, 8)
    padded = F.pad(tokens.unflatten(1, (4, 5)), (0, 0, 2, 2, 2, 2))
    reach = side // 2
    for row, column in itertools.product(range(4), range(5)):
        own = padded[:, row + 2, column + 2]
        rows = slice(row + 2 - reach, row + 3 + reach)
        columns = slice(column + 2 - reach, column + 3 + reach)
        near = padded[:, rows, columns].flatten(1, 2)
        weights = torch.exp(-(near - own[:, None]).norm(dim=-1))
        mean = (weights[..., None] * near).sum(dim=1) / weights.sum(dim=1, keepdim=True)
        found[:, row * 5 + column] = F.normalize(mean, dim=-1)
    torch.testing.assert_close(snamd(tokens, (4, 5), (side,)), found, atol=2e-3, rtol=0)


@pytest.fixture
def second(parity):
    """(features of the case of MuSc-V2, its arrays)."""
    case = parity.case("muscv2")
    tokens = torch.from_numpy(case["tokens"])[:, :, 1:]
    patches = {4 * (i + 1): tokens[:, i] for i in range(3)}
    return Features(image=None, patches=patches, grid=(8, 8), size=(64, 64)), case


@pytest.mark.parametrize(
    ("rescore", "name"), [(None, "score_k1_7"), ((1, 3), "score_k1_3"), ((), "image_max")]
)
def test_second_version(second, rescore, name, assert_parity):
    features, case = second
    scores, maps = joint(MuSc(v2=True, rescore=rescore), features)
    known = {"score": case[name], "anomaly_map": case["anomaly_map"]}
    assert_parity((scores.numpy(), maps[:2].numpy()), known)


def test_second_version_on_the_way(second):
    features, case = second
    for i, tokens in enumerate(features.patches.values()):
        rows = snamd(tokens, (8, 8), (1, 3, 5))
        np.testing.assert_allclose(rows[0], case["Z_first"][:, i], atol=5e-4, rtol=0)


def test_second_version_in_batches_of_any_order():
    features = make(count=9)
    expected = joint(MuSc(v2=True), features)
    order = torch.tensor([3, 1, 5, 0, 2, 8, 7, 6, 4])
    shuffled = part(features, order)
    found = joint(MuSc(v2=True), part(shuffled, slice(0, 4)), part(shuffled, slice(4, 9)))
    assert_same(found, [x[order] for x in expected])


def test_second_version_against_a_pool():
    pool, new = make(5), make(3, seed=1)
    found = MuSc(v2=True, rescore=()).fit(pool).score(new)
    features = Features(
        image=torch.cat([pool.image, new.image[:1]]),
        patches={n: torch.cat([pool.patches[n], x[:1]]) for n, x in new.patches.items()},
        grid=pool.grid,
        size=pool.size,
    )
    scores, maps = joint(MuSc(v2=True, rescore=()), features)
    assert_same((found.image_score[:1], found.anomaly_map[:1]), (scores[-1:], maps[-1:]))


def test_second_version_rescores_against_the_pool_image_with_the_most_similar_patch():
    pool, new = make(5), make(1, seed=1)
    head = MuSc(v2=True, rescore=(2,)).fit(pool)
    own = MuSc(v2=True, rescore=()).fit(pool).score(new)
    known = head.memory_["distance"]
    found = head.score(new).image_score
    rows = snamd(new.patches[2], (4, 5), (1, 3, 5))[0]
    similar = rows @ head.memory_["image"].T
    top, at = similar.max(dim=1)
    expected = (own.image_score + top * known[at]) / (1 + top)
    assert (found - expected).abs().min() < 1e-3  # by one of its patches


def test_second_version_on_a_backbone(small_file, drawn):
    import vlad

    detector = vlad.load("musc", v2=True, backbone=str(small_file), device="cpu")
    scores = detector.score(drawn)
    assert scores.image_score.shape == (6,) and scores.anomaly_map.shape == (6, 64, 64)
    assert detector.fit(drawn[:4]).score(drawn[5]).image_score > 0


def test_scores_equal_a_plain_version():
    """The defaults are the authors' neighbourhoods, share of distances and re-scoring."""
    features, maps = make(21), torch.zeros(21, 20)
    for layer, r in itertools.product((2, 4), (1, 3, 5)):
        rows = lnamd(features.patches[layer], (4, 5), r)
        for i in range(21):
            others = [torch.cdist(rows[i], rows[j]).amin(dim=1) for j in range(21) if j != i]
            maps[i] += torch.stack(others).sort(dim=0).values[:6].mean(dim=0) / 6  # 0.3 of 20
    full = F.interpolate(
        maps.unflatten(1, (1, 4, 5)), size=(40, 50), mode="bilinear", align_corners=True
    )[:, 0]
    largest = full.flatten(1).amax(dim=1)
    assert_same(joint(MuSc(rescore=()), features), (largest, full))
    assert_same(joint(MuSc(), features), (rescore(largest, features.image, (1, 2, 3)), full))


def test_batches_order_and_blocks_do_not_change_scores(monkeypatch):
    features = make()
    expected = joint(MuSc(), features)
    batches = [
        part(features, slice(0, 1)),
        part(features, slice(1, 5)),
        part(features, slice(5, 6)),
    ]
    assert_same(joint(MuSc(), *batches), expected)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert_same(joint(MuSc(), part(features, order)), [x[order] for x in expected])
    for side in (1, 2, 4):
        monkeypatch.setattr(musc_pool, "block_side", lambda patches, device, side=side: side)
        assert_same(joint(MuSc(), features), expected)


def test_progress_ends_at_its_total():
    pool, seen = MuSc().pool(), []
    pool.add(make())
    list(pool.scores(lambda done, total: seen.append((done, total))))
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert {total for _, total in seen} == {len(seen)}


@pytest.mark.parametrize("count", [2, 3, 4])
def test_few_images_give_numbers(count):
    scores, maps = joint(MuSc(), make(count))
    assert scores.isfinite().all() and maps.isfinite().all()


@pytest.mark.parametrize(
    ("interval", "places"),
    [
        ((0, 0.3), [0]),
        ((0, 1), [0]),
        ((0, 3), [0, 1, 2]),
        ((0.2, 0.6), [1, 2]),
        ((0, 99), range(5)),
    ],
)
def test_interval_says_which_distances_count(interval, places):
    distance = torch.tensor([0.9, 0.1, 0.5, 0.3, 0.7])
    similarity = 1 - distance.square() / 2
    found = mean_distance(similarity.reshape(1, 5, 1), interval)
    expected = distance.sort().values[list(places)].mean()
    torch.testing.assert_close(found.flatten()[0], expected, atol=1e-5, rtol=0)


def test_one_image_is_a_sentence():
    pool = MuSc().pool()
    pool.add(make(1))
    with pytest.raises(HeadError, match="at least 2"):
        list(pool.scores())
    with pytest.raises(HeadError, match="fit a pool"):
        MuSc().score(make(1))


def test_images_of_several_sizes():
    pool, other = MuSc().pool(), make()
    pool.add(make())
    with pytest.raises(HeadError, match="64 and 40 pixels"):
        pool.add(Features(other.image, other.patches, other.grid, (64, 80)))


def test_an_image_without_numbers_does_not_disturb_the_others():
    features = make()
    features.patches[2][3, 7, 1] = torch.nan
    scores, maps = joint(MuSc(), features)
    others = [0, 1, 2, 4, 5]
    assert scores[3].isnan() and maps[3].isnan().all()
    assert_same((scores[others], maps[others]), joint(MuSc(), part(make(), others)))


def test_new_images_against_a_pool():
    pool, new = make(5), make(3, seed=1)
    head = MuSc(rescore=())
    assert head.transductive
    head.fit(pool)
    assert not head.transductive
    together = head.score(new)
    for i in range(3):  # each by itself: the same as beside the whole pool, one at a time
        alone = head.score(part(new, [i]))
        torch.testing.assert_close(alone.image_score, together.image_score[[i]])
        features = Features(
            image=torch.cat([pool.image, new.image[[i]]]),
            patches={n: torch.cat([pool.patches[n], x[[i]]]) for n, x in new.patches.items()},
            grid=pool.grid,
            size=pool.size,
        )
        scores, maps = joint(MuSc(rescore=()), features)
        assert_same((alone.image_score, alone.anomaly_map), (scores[-1:], maps[-1:]))


def test_parameters_out_of_range(small_backbone):
    for params in (
        {"r": (2,)},
        {"r": (2**31 + 1,)},
        {"interval": (0.3,)},
        {"interval": (0.9, 0.3)},
        {"interval": (0, float("inf"))},
        {"interval": (0, 0)},
        {"rescore": (0,)},
        {"rescore": 5},
        {"rescore": True},
        {"layers": (0,)},
    ):
        with pytest.raises(HeadError, match=next(iter(params))):
            Panel(small_backbone, {"musc": MuSc(**params)})


def test_detector_lists_pools_and_saved_pools(small_file, drawn, tmp_path):
    import vlad

    options = {"backbone": str(small_file), "device": "cpu"}
    listed = vlad.load("musc", **options).score(drawn)
    assert listed.image_score.shape == (6,)
    with pytest.raises(HeadError, match="at least 2"):
        vlad.load("musc", **options).score(drawn[0])
    fitted = vlad.load("musc", **options).fit(drawn[:4])
    found = fitted.score(drawn[5])
    fitted.save(tmp_path / "saved")
    again = vlad.Detector.load(tmp_path / "saved").score(drawn[5])
    np.testing.assert_allclose(again.image_score, found.image_score, atol=1e-6)
    np.testing.assert_allclose(again.anomaly_map, found.anomaly_map, atol=1e-6)


@pytest.mark.parametrize("pool", ["copies", "alike"])
def test_a_pool_of_equal_images_still_tells_a_defect(small_file, drawn, pool):
    import vlad

    turned = drawn[0].rotate(0.2)
    images = [drawn[0]] * 3 if pool == "copies" else [drawn[0], turned]
    detector = vlad.load("musc", backbone=str(small_file), device="cpu").fit(images)
    good, bad = detector.score([turned, drawn[5]]).image_score
    assert 0 <= good < bad <= 2


@pytest.mark.parametrize("v2", [False, True], ids=["", "second version"])
@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("together", [1, 4, 100])
def test_a_gpu_stores_no_similarities_and_finds_the_same(v2, bfloat16, together, monkeypatch):
    features = replace(make(count=9), bfloat16=bfloat16)
    features.patches[4][3] = torch.nan
    batches = part(features, slice(0, 4)), part(features, slice(4, 9))
    batches = [replace(batch, bfloat16=bfloat16) for batch in batches]
    head = MuSc(v2=v2, r=(1, 3))
    expected = joint(head, *batches)
    monkeypatch.setattr(musc_pool, "multiplies_again", lambda _: True)
    monkeypatch.setattr(musc_pool, "images_together", lambda *_: together)
    monkeypatch.setattr(musc_pool, "mutual_similarity", None)
    found = joint(head, *batches)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0, equal_nan=True)
    assert found[0].isnan().tolist() == [place == 3 for place in range(9)]
    pool, ticks = head.pool(), []
    for batch in batches:
        pool.add(batch)
    pool.grid_maps(lambda done, of: ticks.append((done, of)))
    steps = 8 * len(head.comparisons((2, 4)))
    assert ticks == [(done, steps) for done in range(1, steps + 1)]
