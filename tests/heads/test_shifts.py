"""Features that are off: what the heads with means and spreads say of a region."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from vlad.heads import load_head
from vlad.heads.shifts import channels_of, largest_shifts
from vlad.images.statistics import NAMES, cells, summary
from vlad.types import Features, FeatureShift, Residual


def features_of(count, seed, layers=(1, 2), channels=5):
    generator = torch.Generator().manual_seed(seed)
    patches = {n: torch.randn(count, 9, channels, generator=generator) * n + n for n in layers}
    return Features(image=None, patches=patches, grid=(3, 3), size=(24, 24))


def region(*places, count=9):
    found = torch.zeros(1, count, dtype=torch.bool)
    found[0, list(places)] = True
    return found


EVERYWHERE = torch.ones(1, 9, dtype=torch.bool)


@pytest.fixture
def every_shift(monkeypatch):
    """Reasons name all features, so that their squares can be added up."""
    monkeypatch.setattr("vlad.heads.shifts.SHOWN", 1000)


def squares(reasons, ending=""):
    return sum(r.sigmas**2 for r in reasons if r.feature.endswith(ending))


def test_the_three_largest_are_named_with_their_sign():
    found = largest_shifts(["a", "b", "c", "d"], torch.tensor([[1.0, -5.0, 2.0, 0.5]]))
    shifts = (FeatureShift("b", -5.0), FeatureShift("c", 2.0), FeatureShift("a", 1.0))
    assert found == [shifts]


def test_channels_say_their_block():
    assert channels_of(4, 2) == ["channel 1 of block 4", "channel 2 of block 4"]
    assert channels_of((3, 4), 1) == ["channel 1 of blocks 3, 4"]


@pytest.mark.parametrize("components", [None, "largest", "smallest"])
def test_shifts_of_mvg_square_up_to_the_distance(every_shift, components):
    head = load_head("mvg", components=components).fit(features_of(9, 0))
    image = features_of(1, 1)
    (found,) = head.reasons(image, None, EVERYWHERE)
    each = [squares(found, f"block {n}") ** 0.5 for n in (1, 2)]
    assert np.mean(each) == pytest.approx(head.score(image).image_score.item(), rel=1e-4)
    assert all(r.part for r in found)


def test_shifts_of_mvg_add_up_over_regions(every_shift):
    head = load_head("mvg").fit(features_of(9, 0))
    image, parts = features_of(1, 1), [region(*range(4)), region(*range(4, 9))]
    whole = {r.feature: r.sigmas for r in head.reasons(image, None, EVERYWHERE)[0]}
    halves = [{r.feature: r.sigmas for r in head.reasons(image, None, x)[0]} for x in parts]
    for name, sigmas in whole.items():
        assert sigmas == pytest.approx(sum(half[name] for half in halves), abs=1e-4)


def test_a_channel_moved_at_one_patch_is_named():
    # equal variances in all channels, so that no other one moves with it
    head = load_head("mvg", layers=(1,)).fit(features_of(2000, 0, layers=(1,)))
    image = features_of(1, 1, layers=(1,))
    image.patches[1][:] = 1.0  # near the mean
    image.patches[1][0, 4, 2] += 9 * 9 * 1 / 3  # the means of 9 patches spread by a third
    (found,) = head.reasons(image, None, region(4))
    assert found[0].feature == "channel 3 of block 1"
    assert found[0].sigmas == pytest.approx(9, rel=0.1)
    assert head.without(image, None, region(4)) < 0.2 * head.score(image).image_score


def test_shifts_of_padim_square_up_to_the_distance_of_the_worst_patch(every_shift):
    head = load_head("padim").fit(features_of(9, 0))
    image = features_of(1, 1)
    image.patches[1][0, 4] += 50
    (found,) = head.reasons(image, None, region(3, 4, 5))
    distance, _, _ = head._compare(image)
    assert squares(found) ** 0.5 == pytest.approx(distance[0, 4].item(), rel=1e-4)
    assert len(found) == 10


def test_padim_names_the_channels_that_it_drew(every_shift):
    head = load_head("padim", channels=3).fit(features_of(9, 0))
    image = features_of(1, 1)
    kept = [f"channel {i % 5 + 1} of block {i // 5 + 1}" for i in head._channels(10)]
    assert sorted(r.feature for r in head.reasons(image, None, EVERYWHERE)[0]) == sorted(kept)
    joined = torch.cat(list(image.patches.values()), dim=-1)
    assert torch.equal(head._drawn(image), joined[..., list(head._channels(10))])


def test_shifts_of_words_square_up_to_the_distance(every_shift):
    head = load_head("visual_words", words=4).fit(features_of(9, 0))
    image = features_of(1, 1)
    (found,) = head.reasons(image, None, EVERYWHERE)
    each = [squares(found, f"block {n}") ** 0.5 for n in (1, 2)]
    assert np.mean(each) == pytest.approx(head.score(image).image_score.item(), rel=1e-4)
    assert all(r.part for r in found)
    assert {r.feature for r in found if "block 1" in r.feature} == {
        f"word {n} of block 1" for n in range(1, 5)
    }


def noisy(seed, colour=(120, 120, 120)):
    noise = np.random.default_rng(seed).normal(0, 8, (256, 256, 3))
    return (np.array(colour) + noise).clip(0, 255).astype(np.uint8)


def statistics(pixels):
    found = np.stack([cells(Image.fromarray(x)) for x in pixels])
    return Features(
        image=torch.from_numpy(np.stack([summary(x) for x in found])),
        patches={1: torch.from_numpy(found).flatten(1, 2)},
        grid=(16, 16),
        size=(64, 64),
    )


@pytest.fixture
def nulls():
    return load_head("statistics").fit(statistics([noisy(seed) for seed in range(6)]))


def test_a_blue_cell_is_said_to_be_blue(nulls):
    """A shift of 9 standard deviations of the fit, planted in one cell, is read off it."""
    image = statistics([noisy(9)])
    spread = nulls.memory_["variance"][1, 2].sqrt()
    image.patches[1][0, 18] = nulls.memory_["mean"][1, 2]
    image.patches[1][0, 18, 2] -= 9 * spread[2]
    (found,) = nulls.reasons(image, None, region(17, 18, 19, count=256))
    assert found[0].feature == "blue" and found[0].sigmas == pytest.approx(9, rel=1e-4)
    assert all(abs(r.sigmas) < 1e-3 for r in found[1:])


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((120, 120, 200), "blue"),
        ((200, 200, 60), "yellow"),
        ((200, 110, 155), "red"),
        ((110, 200, 155), "green"),
    ],
)
def test_pixels_of_a_colour_are_called_by_it(nulls, colour, name):
    pixels = noisy(9)
    pixels[16:32, 32:48] = noisy(9, colour)[16:32, 32:48]
    (found,) = nulls.reasons(statistics([pixels]), None, region(18, count=256))
    shifts = {r.feature: r.sigmas for r in found}
    assert shifts[name] > 3


@pytest.mark.parametrize(
    ("slope", "name"),
    [
        ((1, 0), "vertical edges"),
        ((0, 1), "horizontal edges"),
        ((1, 1), "rising edges"),
        ((1, -1), "falling edges"),
    ],
)
def test_edges_are_called_by_their_direction(nulls, slope, name):
    y, x = np.mgrid[16:32, 32:48]
    pixels = noisy(9)
    pixels[16:32, 32:48] = (120 + 100 * np.sign(np.sin((slope[0] * x + slope[1] * y) / 2)))[
        ..., None
    ]
    image = statistics([pixels])
    found = dict(zip([more for more, _ in NAMES], image.patches[1][0, 18].tolist(), strict=True))
    edges = {key: value for key, value in found.items() if key.endswith("edges")}
    assert max(edges, key=edges.get) == name


def test_squares_of_statistics_average_to_the_distance(nulls, every_shift):
    image = statistics([noisy(9)])
    (found,) = nulls.reasons(image, None, region(18, count=256))
    memory = nulls.memory_
    deviations = image.patches[1].unflatten(1, (16, 16))[0, 1, 2] - memory["mean"][1, 2]
    distance = (deviations.square() / memory["variance"][1, 2]).mean().sqrt()
    assert len(found) == 12
    assert (squares(found) / 12) ** 0.5 == pytest.approx(distance.item(), rel=1e-4)


def test_without_a_stain_the_statistics_of_the_whole_image_are_normal_too(nulls):
    image = statistics([noisy(9)])
    normal = image.patches[1].clone()
    normal[0, 18] = nulls.memory_["mean"][1, 2]
    image.patches[1][0, 18] += 7
    whole = torch.from_numpy(summary(normal[0].unflatten(0, (16, 16)).numpy()))[None]
    expected = nulls.score(replace(image, patches={1: normal}, image=whole)).image_score
    torch.testing.assert_close(nulls.without(image, None, region(18, count=256)), expected)


def test_subspace_says_what_it_cannot_rebuild():
    """Of a patch with a known part outside the subspace."""
    generator = torch.Generator().manual_seed(0)
    flat = torch.zeros(40, 9, 5)
    flat[..., :2] = torch.randn(40, 9, 2, generator=generator)
    normal = Features(image=None, patches={1: flat}, grid=(3, 3), size=(24, 24))
    head = load_head("subspace", layers=(1,), rotations=0).fit(normal)
    mean, usual = head.memory_["1.mean"], head.memory_["1.residual"].item()
    tokens = mean.repeat(1, 9, 1)
    tokens[0, 4] += torch.tensor([3.0, 0.0, 4.0, 0.0, 0.0])
    image = replace(normal, patches={1: tokens})
    assert head.reasons(image, None, region(3, 4)) == [
        (Residual(pytest.approx(16 / 25, abs=1e-4), 2, pytest.approx(16 / usual, rel=1e-4)),)
    ]
    assert head.without(image, None, region(4)) == pytest.approx(0, abs=1e-5)
