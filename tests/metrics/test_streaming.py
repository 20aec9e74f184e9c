"""The streaming engine: its bounds hold whatever the scores are, and it says when it is exact."""

import pickle
import warnings

import numpy as np
import pytest
from scipy import ndimage

from vlad.errors import InputError
from vlad.metrics import Streaming, aupro, auroc, average_precision, f1_max

DISTRIBUTIONS = {
    "random": lambda x: x,
    "all tied": lambda x: np.full_like(x, 0.25),
    "few values": lambda x: np.round(x * 6) / 6,
    "8-bit": lambda x: (255 * x).astype(np.uint8),
    "tiny interval": lambda x: 1 + 1e-12 * x,
    "two tiny intervals": lambda x: (x > 0.5) + 1e-12 * x,
    "one outlier": lambda x: np.where(x == x.max(), 1e9, x),
    "squeezed": lambda x: x**30,
    "half at zero": lambda x: np.maximum(x - 0.5, 0),
    "infinite": lambda x: np.where(x > 0.95, np.inf, np.where(x < 0.2, -np.inf, x)),
    "negative": lambda x: x - 2,
    "float32": lambda x: x.astype(np.float32),
    "float16": lambda x: x.astype(np.float16),
    "rising": lambda x: x + np.arange(len(x))[:, None, None],
    "falling": lambda x: x - np.arange(len(x))[:, None, None] / 3,
    "ever wider": lambda x: (x - 0.5) * 10.0 ** np.arange(len(x))[:, None, None],
    "inverted": lambda x: -x,
}


def images(seed, distribution="random", n=40, size=48):
    """Maps that see the defects dimly, and masks with large and small regions; some are normal."""
    rng = np.random.default_rng(seed)
    masks = ndimage.gaussian_filter(rng.random((n, size, size)), (0, 2, 2)) > 0.57
    masks[:, 0, 0] = True
    masks[::3] = False
    maps = np.clip((rng.random(masks.shape) + 0.6 * masks) / 1.6, 0, 1)
    return DISTRIBUTIONS[distribution](maps), masks


def batches(maps, masks, size=4):
    return [(maps[i : i + size], masks[i : i + size]) for i in range(0, len(maps), size)]


def streamed(maps, masks, *, buffer=10_000, bins=256, size=4, **options):
    """The result with a small buffer, so that there is a histogram, and without warnings."""
    stream = Streaming(buffer=buffer, bins=bins)
    for batch in batches(maps, masks, size):
        stream.update(*batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return stream.compute(**options)


def exact(maps, masks, limit=0.3):
    return {
        "pixel_auroc": auroc(maps, masks),
        "pixel_ap": average_precision(maps, masks),
        "pixel_f1_max": f1_max(maps, masks)[0],
        "aupro": aupro(maps, masks, limit=limit),
    }


def assert_within_bounds(result, expected):
    assert set(result.values) == set(result.bounds) == set(expected)
    for name, value in expected.items():
        assert abs(result.values[name] - value) <= result.bounds[name], name


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("bins", [2, 16, 256])
@pytest.mark.parametrize("limit", [0.3, 0.05])
def test_the_exact_value_lies_within_the_bound(distribution, bins, limit):
    for seed, size in ((0, 1), (1, 7)):
        maps, masks = images(seed, distribution)
        result = streamed(maps, masks, bins=bins, size=size, limit=limit)
        assert result.engine == "histogram"
        assert_within_bounds(result, exact(maps, masks, limit))


@pytest.mark.parametrize("seed", range(20))
def test_the_bound_holds_for_small_crowded_sets(seed):
    """Few pixels, many ties, few and overlapping bins: where a loose argument would show."""
    rng = np.random.default_rng(seed)
    for _ in range(20):
        levels = rng.integers(2, 12)
        masks = rng.random((8, 5, 5)) < rng.uniform(0.05, 0.8)
        masks[0, 0, :2] = True, False
        drift = rng.normal(0, 2, (8, 1, 1)) * rng.integers(0, 2)
        maps = np.round(rng.normal(masks * rng.normal(), 1, masks.shape) * levels + drift) / levels
        result = streamed(maps, masks, buffer=int(rng.integers(0, 150)), bins=4, size=1)
        assert_within_bounds(result, exact(maps, masks))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_with_the_usual_bins_the_bound_stays_below_a_thousandth(distribution):
    maps, masks = images(2, distribution, n=120)
    result = streamed(maps, masks, buffer=40_000, bins=1 << 14)
    assert result.engine == "histogram"
    assert max(result.bounds.values()) < 1e-3
    assert_within_bounds(result, exact(maps, masks))


@pytest.mark.parametrize("distribution", ["all tied", "few values", "8-bit"])
def test_ties_cost_nothing(distribution):
    maps, masks = images(3, distribution)
    result = streamed(maps, masks, bins=1024)
    assert max(result.bounds.values()) < 1e-8


def test_more_bins_lower_the_bound():
    maps, masks = images(4)
    few, many = (streamed(maps, masks, bins=bins) for bins in (64, 1024))
    for name in few.bounds:
        assert many.bounds[name] < few.bounds[name] / 4


def test_memory_does_not_grow_with_the_images():
    stream = Streaming(buffer=10_000, bins=64)
    sizes = []
    for seed in range(6):
        for batch in batches(*images(seed, "ever wider")):
            stream.update(*batch)
        sizes.append(len(pickle.dumps(stream)))
    assert max(sizes) < 1.2 * 10_000 * 8 + 4 * 4 * 64 * 8 * 2


def test_is_exact_while_the_pixels_fit_the_buffer():
    maps, masks = images(5)
    stream = Streaming()
    for batch in batches(maps, masks):
        stream.update(*batch)
    for limit in (0.3, 0.05):
        result = stream.compute(limit=limit)
        assert result.engine == "exact" and set(result.bounds.values()) == {0}
        assert result.values == pytest.approx(exact(maps, masks, limit), abs=1e-12)


def test_computing_in_between_changes_nothing_but_the_edges():
    maps, masks = images(6)
    stream = Streaming(buffer=10_000, bins=1 << 14)
    for i, batch in enumerate(batches(maps, masks), 1):
        stream.update(*batch)
        if i % 3 == 0:
            expected = exact(maps[: 4 * i], masks[: 4 * i])
            assert_within_bounds(stream.compute(), expected)
            assert stream.compute() == stream.compute()


@pytest.mark.parametrize("buffers", [(5_000, 5_000), (5_000, 10**6), (10**6, 5_000), (10**6,) * 2])
@pytest.mark.parametrize("distribution", ["random", "rising", "few values"])
def test_merged_from_processes_it_is_as_one(buffers, distribution):
    maps, masks = images(7, distribution)
    whole = Streaming(buffer=buffers[0], bins=1 << 12)
    for part, buffer in zip((slice(0, 9), slice(9, 40)), buffers, strict=True):
        stream = Streaming(buffer=buffer, bins=1 << 12)
        for batch in batches(maps[part], masks[part]):
            stream.update(*batch)
        sent = pickle.dumps(stream)
        assert whole.merge(pickle.loads(sent)) is whole
        assert pickle.dumps(stream) == sent
    result = whole.compute()
    assert result.engine == ("exact" if min(buffers) == 10**6 else "histogram")
    assert max(result.bounds.values()) < 1e-3
    expected = exact(maps, masks)
    if result.engine == "exact":
        assert result.values == pytest.approx(expected, abs=1e-12)
    else:
        assert_within_bounds(result, expected)


def test_many_merges_stay_within_the_bound():
    maps, masks = images(8, "falling")
    whole = Streaming(buffer=0, bins=1 << 13)
    for batch in batches(maps, masks, 1):
        whole.merge(Streaming(buffer=0, bins=1 << 13).update(*batch))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_within_bounds(whole.compute(), exact(maps, masks))


def test_too_wide_a_bound_is_warned_of_or_mended_by_a_second_pass():
    maps, masks = images(9)
    stream = Streaming(buffer=10_000, bins=16)
    for batch in batches(maps, masks):
        stream.update(*batch)
    with pytest.warns(UserWarning, match=r"bound of \w+ is .* above 0.001; .*again") as caught:
        assert stream.compute().engine == "histogram"
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for limit in (0.3, 0.05):
            result = stream.compute(limit=limit, again=batches(maps, masks, 7))
            assert result.engine == "exact" and set(result.bounds.values()) == {0}
            assert result.values == pytest.approx(exact(maps, masks, limit), abs=1e-12)


def test_a_second_pass_over_other_pixels_is_refused():
    maps, masks = images(10)
    stream = Streaming(buffer=10_000, bins=16).update(maps, masks)
    for again in (batches(maps[1:], masks[1:]), iter(batches(maps, masks)), []):
        with pytest.raises(InputError, match="same batches"):
            stream.compute(again=again)


@pytest.mark.parametrize("buffer", [0, 10**6])
@pytest.mark.parametrize(
    ("value", "message"), [(0, "nothing is anomalous"), (1, "nothing is normal")]
)
def test_without_both_classes_the_values_are_nan_with_a_warning(buffer, value, message):
    maps = np.random.default_rng(0).random((2, 5, 5))
    stream = Streaming(buffer=buffer).update(maps, np.full(maps.shape, value))
    with pytest.warns(UserWarning, match=message) as caught:
        result = stream.compute()
    assert np.isnan(list(result.values.values())).all()
    assert [warning.filename for warning in caught] == [__file__]


def test_without_any_pixel_the_values_are_nan_with_a_warning():
    for stream in (Streaming(), Streaming().update(np.zeros((0, 3, 3)), np.zeros((0, 3, 3)))):
        with pytest.warns(UserWarning, match="nothing is anomalous"):
            assert np.isnan(list(stream.compute().values.values())).all()


def test_the_first_defect_may_come_late():
    maps, masks = images(11)
    masks[:30] = False
    result = streamed(maps, masks, bins=1 << 12, size=1)
    assert_within_bounds(result, exact(maps, masks))


def test_images_of_several_sizes_add_up():
    stream = Streaming()
    scores, labels = [], []
    for size in (20, 30):
        maps, masks = images(size, size=size)
        stream.update(maps, masks)
        scores.append(maps.ravel())
        labels.append(masks.ravel())
    expected = auroc(np.concatenate(scores), np.concatenate(labels))
    assert stream.compute().values["pixel_auroc"] == pytest.approx(expected, abs=1e-12)


def test_wrong_input_is_refused():
    maps, masks = images(12)
    with pytest.raises(InputError, match="same shape"):
        Streaming().update(maps, masks[:, 1:])
    with pytest.raises(InputError, match="NaN"):
        Streaming().update(np.full(masks.shape, np.nan), masks)
    with pytest.raises(InputError, match="limit"):
        Streaming().update(maps, masks).compute(limit=0)
    for options in ({"buffer": -1}, {"bins": 1}):
        with pytest.raises(InputError, match="at least 0 pixels and 2 bins"):
            Streaming(**options).update(maps, masks)
