"""Pixel metrics of maps that come one by one: exact from the file, bounded beyond it."""

import tempfile
import warnings

import numpy as np
import pytest
from scipy import ndimage

from vlad.evaluation.pixels import PixelMetrics
from vlad.metrics import evaluate

PIXEL = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro")


def drawn(seed, sizes):
    """Maps of two heads and a mask for each size; every third image is normal."""
    rng = np.random.default_rng(seed)
    for i, size in enumerate(sizes):
        mask = ndimage.gaussian_filter(rng.random(size), 3) > (0.54 if i % 3 else 2)
        maps = {
            name: (rng.random(size) + share * mask).astype(np.float32)
            for name, share in (("sharp", 0.9), ("dim", 0.3))
        }
        yield maps, mask


def taken(images, room):
    found = PixelMetrics(room)
    for maps, mask in images:
        for head, anomaly_map in maps.items():
            found.add(head, anomaly_map, mask)
    return found


def in_memory(images, head):
    maps = np.stack([maps[head] for maps, _ in images])
    masks = np.stack([mask for _, mask in images])
    found = evaluate(np.zeros(len(maps)), masks.any((1, 2)), maps, masks)
    return {name: found[name] for name in PIXEL}


def same_size(seed):
    return list(drawn(seed, [(60, 300)] * 9))


@pytest.mark.parametrize("head", ["sharp", "dim"])
def test_exact_while_there_is_room(head):
    images = same_size(0)
    result = taken(images, 1 << 30).compute(head)
    expected = in_memory(images, head)
    assert result.engine == "exact" and set(result.bounds.values()) == {0}
    assert result.values == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("room", [0, 400_000])
@pytest.mark.parametrize("buffer", [1 << 21, 1 << 12])
def test_beyond_it_bounded(monkeypatch, room, buffer):
    from vlad.metrics import Streaming

    monkeypatch.setattr(Streaming.__init__, "__kwdefaults__", {"buffer": buffer, "bins": 64})
    images = same_size(1)
    found = taken(images, room)
    assert not found.places
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = {head: found.compute(head) for head in ("sharp", "dim")}
    for head, result in results.items():
        expected = in_memory(images, head)
        assert (result.engine == "histogram") == (buffer == 1 << 12)
        for name in PIXEL:
            assert abs(result.values[name] - expected[name]) <= result.bounds[name] + 1e-12
        assert max(result.bounds.values()) > 1e-3 or result.engine == "exact"


def test_images_of_any_size():
    images = list(drawn(2, [(50, 31), (20, 77), (64, 64), (1, 200), (50, 31)]))
    exact, streamed = (taken(images, room).compute("dim") for room in (1 << 30, 10_000))
    assert exact.values == pytest.approx(streamed.values, abs=1e-12)  # both are exact so far


def test_a_full_disk_is_no_mishap(monkeypatch):
    images = same_size(3)
    expected = taken(images, 1 << 30).compute("dim").values

    class Full:
        """A file on a disk that takes five maps, the last of them in part."""

        def __init__(self, file):
            self.file, self.left = file, 350_000

        def write(self, data):
            if not self.left:
                raise OSError(28, "No space left on device")
            taken = self.file.write(data[: self.left])
            self.left -= taken
            return taken

        def __getattr__(self, name):
            return getattr(self.file, name)

    real = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **options: Full(real(**options)))
    found = taken(images, 1 << 30)
    assert found.streams is not None
    assert found.compute("dim").values == pytest.approx(expected, abs=1e-12)

    def nowhere(**options):
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryFile", nowhere)
    assert taken(images, 1 << 30).compute("dim").values == pytest.approx(expected, abs=1e-12)


def test_a_head_without_maps_has_no_value():
    for room in (0, 1 << 30):
        found = taken(same_size(4), room)
        with pytest.warns(UserWarning, match="nothing is anomalous"):
            assert np.isnan(list(found.compute("other").values.values())).all()
