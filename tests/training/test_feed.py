"""Order, parts, mosaics and cached features."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from vlad.errors import InputError
from vlad.training.cache import Cache
from vlad.training.data import Data, Item, Labelled, Synthetic
from vlad.training.feed import Feed, Place, epoch_order, mosaic, split
from vlad.training.gather import load_data, weighted
from vlad.types import Sample


@pytest.fixture
def data(category, tmp_path) -> Data:
    for name in ("bolt", "nut"):
        category(tmp_path / "data" / name, normal=3)
    return load_data([str(tmp_path / "data")], show=False)


def sources(*weights, count=4):
    samples = [Sample(f"{i}", f"{i}", category="nut", label=0) for i in range(count)]
    return [Labelled("x", samples, ["d"] * count, weight) for weight in weights]


def test_an_epoch_sees_each_image_as_often_as_its_weight_says():
    order = epoch_order(sources(1, 2.5), 0, seed=3)
    assert Counter(place.source for place in order) == {0: 4, 1: 10}
    assert set(Counter(p.index for p in order if p.source == 1).values()) == {2, 3}
    assert order == epoch_order(sources(1, 2.5), 0, seed=3)
    for other in (epoch_order(sources(1, 2.5), 1, seed=3), epoch_order(sources(1, 2.5), 0, seed=4)):
        assert [p.index for p in other] != [p.index for p in order]


def test_without_shuffling_all_epochs_have_the_order_of_the_data():
    data = sources(1, 2)
    expected = [(0, 0), (0, 1), (0, 2), (0, 3), *2 * [(1, 0), (1, 1), (1, 2), (1, 3)]]
    for epoch in (0, 1):
        found = epoch_order(data, epoch, seed=3, shuffle=False)
        assert [(place.source, place.index) for place in found] == expected


@pytest.mark.parametrize(("parts", "ranks"), [(1, 1), (3, 1), (2, 3), (1, 4)])
def test_processes_and_parts_share_each_batch(parts, ranks):
    order = epoch_order(sources(1, count=22), 0, seed=0)
    found = [list(split(order, 8, parts, rank, ranks)) for rank in range(ranks)]
    assert len({len(of_rank) for of_rank in found}) == 1  # all keep step
    for step, start in enumerate((0, 8, 16)):
        mine = [part for of_rank in found for part in of_rank if part.step == step]
        assert len(mine) == parts * ranks
        assert sum(part.share for part in mine) == pytest.approx(1)
        seen = [place for part in mine if part.share for place in part.places]
        assert seen == order[start : start + 8]


def test_weights_stand_behind_the_last_colon(tmp_path):
    (tmp_path / "a:3").mkdir()
    assert weighted("visa:2") == ("visa", 2.0)
    assert weighted("visa:0.5") == ("visa", 0.5)
    assert weighted(str(tmp_path / "a:3")) == (str(tmp_path / "a:3"), 1.0)
    assert weighted("C:\\data") == ("C:\\data", 1.0)


def test_mosaic_is_made_of_four_quarters():
    def item(shade, side, label, mask=True):
        image = Image.new("RGB", (side, side), (shade, 0, 0))
        return Item(image, np.full((side, side), bool(label)) if mask else None, label)

    found = mosaic([item(10, 8, 0), item(20, 8, 1), item(30, 16, 0), item(40, 8, 0)])
    shades = np.asarray(found.image)[..., 0]
    assert [shades[y, x] for y in (0, 15) for x in (0, 15)] == [10, 20, 30, 40]
    expected = np.zeros((16, 16), bool)
    expected[:8, 8:] = True
    assert (found.mask == expected).all()
    assert found.label == 1
    without = mosaic([item(1, 8, 0), item(2, 8, 1, mask=False), item(3, 8, 0), item(4, 8, 0)])
    assert without.mask is None
    assert without.label == 1


def feed_of(data, make_learner, head="april_gan", cache=None, **options):
    learner, _ = make_learner(head)
    kept = cache and Cache(cache, learner.extractor, learner.spec)
    return Feed(data, learner.extractor, learner.spec, kept, **options), learner


def one_epoch(feed, data, epoch=0):
    parts = list(split(epoch_order(data.sources, epoch, 0), 4, 1))
    return [batch for _, batch in feed.batches(parts)]


def test_cached_features_are_the_fresh_ones_to_the_last_bit(data, make_learner, tmp_path):
    feed, _ = feed_of(data, make_learner, cache=tmp_path / "cache")
    fresh = one_epoch(feed, data)
    files = list((tmp_path / "cache").glob("*/*/*.safetensors"))
    assert len(files) == 5  # both categories hold the same five images
    cached = one_epoch(feed, data)
    for one, two in zip(fresh, cached, strict=True):
        assert torch.equal(one.masks, two.masks)
        assert torch.equal(one.labels, two.labels)
        assert one.categories == two.categories
        for layer, x in one.features.patches.items():
            assert torch.equal(x, two.features.patches[layer])
    for file in files:  # cut off
        file.write_bytes(file.read_bytes()[:100])
    again = one_epoch(feed, data)
    assert torch.equal(again[0].features.image, fresh[0].features.image)


def test_float16_moves_losses_by_less_than_a_thousandth(data, make_learner, tmp_path):
    feed, learner = feed_of(data, make_learner, cache=tmp_path / "cache")
    exact, _ = feed_of(data, make_learner, head="april_gan")
    for kept, plain in zip(one_epoch(feed, data), one_epoch(exact, data), strict=True):
        with torch.no_grad():
            found, expected = learner(kept), learner(plain)
        for name, x in expected.items():
            torch.testing.assert_close(found[name], x, rtol=1e-3, atol=1e-5)


def test_mosaics_pass_by_the_cache_and_follow_from_the_seed(data, make_learner, tmp_path):
    feed, _ = feed_of(data, make_learner, cache=tmp_path / "cache", mosaic=1.0)
    one, two = one_epoch(feed, data), one_epoch(feed, data)
    assert not list((tmp_path / "cache").glob("*/*/*"))
    assert torch.equal(one[0].features.image, two[0].features.image)
    plain, _ = feed_of(data, make_learner, cache=tmp_path / "cache")
    assert not torch.equal(one[0].features.image, one_epoch(plain, data)[0].features.image)


@pytest.fixture
def paired(category, tmp_path) -> Data:
    category(tmp_path / "data" / "bolt", normal=3)
    for path in list((tmp_path / "data" / "bolt").glob("t*/*/*.png")):
        other = tmp_path / "data" / "nut" / path.relative_to(tmp_path / "data" / "bolt")
        other.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(Image.open(path)) // 2).save(other)  # no file is in both
    return load_data([str(tmp_path / "data")], show=False, pairs=True)


def test_each_image_beside_a_normal_one_of_its_category(paired, make_learner, tmp_path):
    feed, _ = feed_of(paired, make_learner, cache=tmp_path / "cache", seed=1)
    normals = paired.normals[0]
    assert {s.path.parent.parent.name for s in normals.samples} == {"train"}
    prepared = [feed.extractor.prepare(normals.item(i, 0).image, [feed.spec]) for i in range(8)]
    (known,) = feed.extractor.extract(prepared, [feed.spec])

    def drawn(epoch):  # indices of the normal images, in the order of the queries
        found = []
        for batch in one_epoch(feed, paired, epoch):
            distance = torch.cdist(batch.normals.image, known.image)
            assert distance.amin(dim=1).max() < 0.05  # rounded to float16
            found += zip(batch.categories, distance.argmin(dim=1).tolist(), strict=True)
        return found

    first = drawn(0)
    assert all(normals.samples[i].category == category for category, i in first)
    assert first == drawn(0)
    assert sorted(first) != sorted(drawn(1))


def test_an_image_is_not_beside_itself_if_there_is_another(make_learner, tmp_path):
    samples = [Sample(tmp_path / str(i), f"{i}", category="nut", label=0) for i in range(2)]
    normals = [Labelled("mine", samples, ["a", "b"])]
    for count in (2, 1):
        source = Synthetic("mine", samples[:1], ["a"], Drawn())
        data = Data([source], normals=[replace(normals[0], samples=samples[:count])])
        feed, _ = feed_of(data, make_learner)
        chosen = {feed._normal_of(Place(0, 0, epoch, 0)) for epoch in range(9)}
        assert chosen == {count - 1}


def test_pairs_of_synthetic_images_come_from_the_same_folder(category, tmp_path):
    category(tmp_path / "nut", normal=3)
    root = str(tmp_path / "nut")
    data = load_data([], synthetic=[root], show=False, pairs=True)
    assert [s.path for s in data.normals[0].samples] == [s.path for s in data.sources[0].samples]
    assert data.card()["nut"]["paired with"]["normal"] == 4
    assert "paired with" not in load_data([], synthetic=[root], show=False).card()["nut"]


def test_pairs_need_normal_images_of_each_category(category, tmp_path):
    category(tmp_path / "data" / "nut", normal=3)
    train = tmp_path / "data" / "nut" / "train" / "good"
    for path in train.glob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match="training split of nut in data has no readable image"):
        load_data([str(tmp_path / "data")], show=False, pairs=True)
    assert load_data([str(tmp_path / "data")], show=False).normals == ()


class Drawn:
    """As vlad.synthetic.SyntheticSet draws: pure in index and epoch."""

    def item(self, index, epoch):
        shade = 40 * epoch + 10 * index
        mask = np.zeros((32, 32), bool)
        mask[: 4 * index] = True
        return Item(Image.new("RGB", (32, 32), (shade, shade, 0)), mask, int(index > 0))


def test_drawn_defects_differ_from_epoch_to_epoch(make_learner, tmp_path):
    samples = [Sample(tmp_path, f"{i}", category="nut", label=0) for i in range(3)]
    data = Data([Synthetic("mine", samples, ["a", "b", "c"], Drawn())])
    feed, _ = feed_of(data, make_learner, cache=tmp_path / "cache")
    (first,), (again,), (later,) = (one_epoch(feed, data, epoch) for epoch in (0, 0, 1))
    assert torch.equal(first.features.image, again.features.image)
    assert sorted(later.labels.tolist()) == [0, 1, 1]
    assert not torch.equal(
        first.features.image.sort(dim=0).values, later.features.image.sort(dim=0).values
    )
    assert data.card()["mine"]["kind"] == "drawn defects"


def test_normal_images_to_draw_into(category, tmp_path, monkeypatch):
    """Of a labelled set those without a defect, in a plain folder all."""
    category(tmp_path / "data" / "nut", normal=3)
    monkeypatch.setattr("vlad.training.gather._draw", lambda *args: Drawn())
    for root in ("data", "data/nut", "data/nut/train/good"):
        (source,) = load_data([], synthetic=[f"{tmp_path / root}:2"], show=False).sources
        assert {s.category for s in source.samples} == {"nut"}
        assert (len(source.samples), source.weight) == (4, 2.0)
        assert all(s.label == 0 and "train" in s.path.parts for s in source.samples)
        assert source.name == ("data" if root == "data" else "nut")
