"""Counts of visual words: a plain version, its map, and parts that are missing or too many."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from same_scores import same
from scipy.linalg import sqrtm
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

import vlad
from vlad.backbones import load_backbone
from vlad.errors import HeadError
from vlad.heads import load_head, visual_words
from vlad.maths.kmeans import kmeans
from vlad.maths.maps import upsample
from vlad.scoring.panel import Panel
from vlad.types import Features

SIDE, CHANNELS = 4, 5


def drawn_features(count: int, seed: int, layers=(1, 2)) -> Features:
    """Patches of a few kinds, in other numbers for each image."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randn(4, CHANNELS, generator=torch.Generator().manual_seed(9))
    places = torch.randint(4, (count, SIDE**2), generator=generator)
    patches = {
        n: kinds[places] * n + 0.3 * torch.randn(count, SIDE**2, CHANNELS, generator=generator)
        for n in layers
    }
    return Features(image=None, patches=patches, grid=(SIDE, SIDE), size=(32, 32))


def plain(normal: Features, query: Features, words: int) -> tuple[float, np.ndarray]:
    """Score and (h, w) map of one image, word by word and patch by patch."""
    scores, maps = [], []
    for layer, patches in normal.patches.items():
        centres = kmeans(torch.nn.functional.normalize(patches, dim=-1).flatten(0, 1), words, 0)
        centres = centres.double().numpy()
        known = [unit(x) for x in patches.double().numpy()]
        scale = np.mean([min(((p - c) ** 2).sum() for c in centres) for x in known for p in x])

        def owned(image, centres=centres, scale=scale):
            each = [[math.exp(-((p - c) ** 2).sum() / scale) for c in centres] for p in image]
            return np.array([[value / sum(row) for value in row] for row in each])

        usual = np.mean([owned(x) for x in known], axis=0)
        counts = np.array([np.log(1 + owned(x).sum(axis=0)) for x in known])
        gaussian = LedoitWolf().fit(counts)
        mine = owned(unit(query.patches[layer][0].double().numpy()))
        centred = np.log(1 + mine.sum(axis=0)) - gaussian.location_
        distance = math.sqrt(centred @ np.linalg.inv(gaussian.covariance_) @ centred)
        parts = np.linalg.inv(sqrtm(gaussian.covariance_)) @ centred
        found = np.zeros(SIDE**2)
        for k, part in enumerate(parts):
            where = abs(mine[:, k] - usual[:, k])
            found += SIDE**2 * part**2 / distance * where / where.sum()
        scores.append(distance)
        maps.append(found.reshape(SIDE, SIDE))
    return np.mean(scores), np.mean(maps, axis=0)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_against_a_plain_version():
    normal, queries = drawn_features(7, 0), drawn_features(3, 1)
    found = load_head("visual_words", words=4).fit(normal).score(queries)
    for place in range(3):
        score, grid = plain(normal, queries.at(place), words=4)
        assert found.image_score[place] == pytest.approx(score, rel=1e-4)
        expected = upsample(torch.from_numpy(grid)[None].float(), (32, 32), sigma=4)[0]
        torch.testing.assert_close(found.anomaly_map[place], expected, rtol=1e-3, atol=1e-3)


def test_what_places_add_sums_up_to_the_score(monkeypatch):
    seen = []
    monkeypatch.setattr(
        visual_words, "upsample", lambda grid, size, sigma: seen.append(grid) or grid
    )
    found = load_head("visual_words").fit(drawn_features(9, 0)).score(drawn_features(4, 1))
    torch.testing.assert_close(seen[0].flatten(1).mean(dim=1), found.image_score)
    assert seen[0].min() >= 0


def test_a_surplus_is_where_it_is_and_a_gap_where_the_part_was(monkeypatch):
    """Normal images have two patches of a kind; then one image has one of them, one has three."""
    monkeypatch.setattr(visual_words, "upsample", lambda grid, size, sigma: grid)
    kinds, ground = torch.eye(CHANNELS), torch.zeros(8, SIDE**2, dtype=torch.long)
    noise = 0.2 * torch.randn(8, SIDE**2, CHANNELS, generator=torch.Generator().manual_seed(0))
    ground[:, [0, 15]] = 1
    ground[6, 15] = 0
    ground[7, 5] = 1
    both = Features(None, {1: kinds[ground] + noise}, (SIDE, SIDE), (32, 32))
    normal, queries = (
        replace(both, patches={1: both.patches[1][part]}) for part in (slice(6), slice(6, 8))
    )
    maps = load_head("visual_words", words=2).fit(normal).score(queries).anomaly_map
    assert maps.flatten(1).argmax(dim=1).tolist() == [15, 5]


def test_a_fit_in_batches_is_one_fit(monkeypatch):
    images = drawn_features(8, 0)
    whole = load_head("visual_words", words=4).fit(images)
    gather = (head := load_head("visual_words", words=4)).gather()
    for place in range(8):
        gather.add(images.at(place))
    gather.finish()
    for name, x in whole.memory_.items():
        torch.testing.assert_close(head.memory_[name], x)


def test_words_are_those_of_the_first_images_once_there_are_enough(monkeypatch):
    """Later images are counted without being kept."""
    monkeypatch.setattr(visual_words, "LIMIT", 4 * SIDE**2)
    images = drawn_features(8, 0)
    first = replace(images, patches={n: x[:4] for n, x in images.patches.items()})
    gather = (head := load_head("visual_words", words=4)).gather()
    for place in range(8):
        gather.add(images.at(place))
    gather.finish()
    expected = load_head("visual_words", words=4).fit(first).memory_
    torch.testing.assert_close(head.memory_["1.words"], expected["1.words"])
    assert head.memory_["1.count"] == 8 and not gather.kept
    owned = visual_words.shares(images.patches[1], expected["1.words"], expected["1.scale"])
    torch.testing.assert_close(head.memory_["1.places"], owned.mean(dim=0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:1], "there is one; give two or more"),
        (lambda x: x[:1].expand(3, -1, -1), "all 3 are alike"),
        (lambda x: torch.ones_like(x), "all 4 are alike"),
        (lambda x: x * float("nan"), "features that are no numbers"),
    ],
)
def test_images_that_tell_nothing(change, message):
    images = drawn_features(4, 0)
    images = replace(images, patches={n: change(x) for n, x in images.patches.items()})
    with pytest.raises(HeadError, match=message):
        load_head("visual_words").fit(images)


def test_images_of_another_grid():
    head = load_head("visual_words", layers=[1]).fit(drawn_features(4, 0))
    smaller = drawn_features(1, 1)
    smaller = replace(smaller, patches={n: x[:, :4] for n, x in smaller.patches.items()})
    with pytest.raises(HeadError, match="fitted on images of 16 patches and gets 4"):
        head.score(smaller)


def test_two_images_are_enough_for_a_distance():
    """Their covariance is the mean variance in all directions."""
    normal = drawn_features(2, 0, layers=(1,))
    memory = load_head("visual_words", words=4).fit(normal).memory_
    counts = visual_words.shares(normal.patches[1], memory["1.words"], memory["1.scale"])
    counts = counts.sum(dim=1).log1p().double()
    found = load_head("visual_words", words=4).fit(normal).score(normal).image_score
    spread = counts.var(dim=0, correction=0).mean().sqrt()
    expected = (counts - counts.mean(dim=0)).norm(dim=1) / spread
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


PARTS = ("disc", "square", "bar")


def part(draw: ImageDraw.ImageDraw, kind: str, x: int, y: int, r: int, rng) -> None:
    """A part of about 2r pixels around a point, its colours a little different each time."""

    def tone(*colour):
        return tuple(int(v) for v in np.clip(np.array(colour) + rng.normal(0, 5, 3), 0, 255))

    if kind == "disc":
        draw.ellipse((x - r, y - r, x + r, y + r), tone(190, 60, 50), tone(110, 30, 25), 3)
        draw.ellipse((x - r / 3, y - r / 3, x + r / 3, y + r / 3), tone(60, 60, 60))
    elif kind == "square":
        draw.rectangle((x - r, y - r, x + r, y + r), tone(60, 90, 190), tone(25, 40, 110), 3)
        draw.line((x - r, y, x + r, y), tone(220, 220, 220), 3)
    else:
        draw.rectangle((x - r, y - r / 2, x + r, y + r / 2), tone(80, 170, 80), tone(30, 90, 30), 3)
        for place in (x - r / 2, x, x + r / 2):
            draw.line((place, y - r / 2, place, y + r / 2), tone(20, 60, 20), 2)


def ground(colour, rng) -> Image.Image:
    pixels = np.array(colour) + rng.normal(0, 6, (256, 256, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def table(kinds, rng) -> Image.Image:
    """Loose parts anywhere on a table."""
    image = ground((170, 165, 155), rng)
    cells = rng.permutation(list(product(range(32, 256, 64), repeat=2)))
    for kind, cell in zip(kinds, cells, strict=False):
        x, y = cell + rng.integers(-9, 10, 2)
        part(ImageDraw.Draw(image), kind, int(x), int(y), 20, rng)
    return image


def rails(kinds, rng) -> Image.Image:
    """Parts in any order along three rails."""
    image = ground((60, 70, 60), rng)
    draw = ImageDraw.Draw(image)
    rows = (48, 128, 208)
    for y in rows:
        draw.rectangle((0, y - 5, 256, y + 5), (150, 150, 155))
    cells = rng.permutation(list(product(range(26, 256, 41), rows)))
    for kind, (x, y) in zip(kinds, cells, strict=False):
        part(draw, kind, int(x + rng.integers(-4, 5)), int(y), 16, rng)
    return image


LAYOUTS = {
    table: ["disc"] * 4 + ["square"] * 3 + ["bar"] * 3,
    rails: ["disc"] * 4 + ["square"] * 4 + ["bar"] * 4,
}
CHANGES = ("missing", "surplus", "swapped")


def with_parts(layout, count: int, change: str | None, seed: int) -> list[Image.Image]:
    """Images of all parts of a layout, one of them missing, twice there, or of another kind."""
    rng, images = np.random.default_rng(seed), []
    for _ in range(count):
        kinds = list(LAYOUTS[layout])
        place = int(rng.integers(len(kinds)))
        if change == "missing":
            kinds.pop(place)
        elif change == "surplus":
            kinds.append(kinds[place])
        elif change == "swapped":
            others = [kind for kind in PARTS if kind != kinds[place]]
            kinds[place] = others[int(rng.integers(2))]
        images.append(layout(kinds, rng))
    return images


def part_auroc(layout, normal_images: int, count: int, seed: int = 0) -> dict[str, list[float]]:
    """head -> image AUROC of each change, from `count` images of each and of good ones."""
    names = ("visual_words", "memory")
    backbone = load_backbone("vlad-tiny", "cpu")
    panel = Panel(backbone, {name: load_head(name) for name in names})
    panel.fit(with_parts(layout, normal_images, None, 10 * seed))

    def score(change, own_seed):
        images = with_parts(layout, count, change, 10 * seed + own_seed)
        found = panel.score([panel.prepare(image) for image in images])
        return {name: x.image_score for name, x in found.items()}

    good, labels = score(None, 1), [0] * count + [1] * count
    changed = [score(change, 2 + i) for i, change in enumerate(CHANGES)]
    return {
        name: [roc_auc_score(labels, torch.cat([good[name], bad[name]])) for bad in changed]
        for name in names
    }


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_parts_that_are_missing_surplus_or_swapped(layout):
    """No patch is unlike those of normal images, so that memory sees next to nothing."""
    found = part_auroc(layout, normal_images=12, count=16)
    assert min(found["visual_words"]) > 0.8
    assert max(found["memory"]) < 0.7


def test_a_saved_detector_scores_the_same(small_file, drawn, tmp_path):
    made = vlad.load("visual_words", backbone=str(small_file), device="cpu").fit(drawn[:4])
    again = vlad.Detector.load(made.save(tmp_path / "saved"))
    same(again.score(drawn), made.score(drawn))
