"""AUPIMO against its definition, written plainly, and where it is not defined."""

import warnings

import numpy as np
import pytest

from vlad.errors import InputError
from vlad.metrics import aupimo


def images(seed, levels=None, n=6, size=40):
    """Maps that see the defects in the second half of the images; `levels` makes ties."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, size, size), bool)
    for i in range(n // 2, n):
        y, x = rng.integers(0, size - 9, 2)
        masks[i, y : y + rng.integers(2, 9), x : x + 5] = True
    maps = rng.normal(size=masks.shape) + 2.5 * masks
    return (np.round(maps * levels) / levels if levels else maps), masks


def slow_aupimo(maps, masks, lower, upper):
    """Image by image, normal score by normal score; each piece by a fine sum over log rate."""
    normal = maps[~masks.any(axis=(1, 2))].ravel()
    values = []
    for image, mask in zip(maps, masks, strict=True):
        if not mask.any():
            values.append(np.nan)
            continue
        area = 0.0
        for score in np.unique(normal)[::-1]:
            rate = (normal > score).mean(), (normal >= score).mean()
            overlap = (image[mask] > score).mean(), (image[mask] >= score).mean()
            start, end = max(rate[0], lower), min(rate[1], upper)
            if start >= end:
                continue
            edges = np.linspace(np.log(start), np.log(end), 2001)
            x = np.exp((edges[1:] + edges[:-1]) / 2)
            area += np.interp(x, rate, overlap).mean() * (edges[-1] - edges[0])
        values.append(area / np.log(upper / lower))
    return np.array(values)


@pytest.mark.parametrize("levels", [None, 8, 2])
@pytest.mark.parametrize("bounds", [(1e-3, 1e-2), (0.02, 0.3)])
def test_agrees_with_its_definition(levels, bounds):
    maps, masks = images(0, levels, size=24)
    values = aupimo(maps, masks, bounds=bounds)
    expected = slow_aupimo(maps, masks, *bounds)
    assert values.per_image == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert values.mean == pytest.approx(np.nanmean(expected), abs=1e-6)
    assert np.isnan(values.per_image).tolist() == [True] * 3 + [False] * 3
    assert 0.05 < values.mean < 0.95  # the case has something to measure


def trapezoid_of_the_authors(maps, masks, lower, upper, count):
    """Evenly spaced thresholds over the normal scores, trapezoids over log rate in the bounds."""
    has_defect = masks.any(axis=(1, 2))
    normal = np.sort(maps[~has_defect].ravel())
    thresholds = np.linspace(normal[0], normal[-1], count)
    rate = 1 - np.searchsorted(normal, thresholds, side="left") / normal.size
    ends = [np.abs(rate - bound).argmin() for bound in (upper, lower)]
    inside = slice(ends[0], ends[1] + 1)
    x = np.log(rate[inside][::-1])
    values = []
    for image, mask in zip(maps[has_defect], masks[has_defect], strict=True):
        defect = np.sort(image[mask])
        overlap = 1 - np.searchsorted(defect, thresholds[inside], side="left") / defect.size
        values.append(np.trapezoid(overlap[::-1], x) / np.log(upper / lower))
    return np.array(values)


def test_comes_to_the_same_as_many_evenly_spaced_thresholds():
    maps, masks = images(1, n=8, size=400)
    values = aupimo(maps, masks).per_image[4:]
    theirs = trapezoid_of_the_authors(maps, masks, 1e-5, 1e-4, 300_000)
    assert values == pytest.approx(theirs, abs=5e-3)


def test_only_the_order_of_scores_counts_and_types_do_not_matter():
    maps, masks = images(2, 16, size=60)
    bounds = (1e-3, 1e-1)
    expected = aupimo(maps, masks, bounds=bounds).per_image
    for changed in (np.exp(maps), maps.astype(np.float32), 1e6 * maps - 3):
        assert aupimo(changed, 255 * masks.astype(np.uint8), bounds=bounds).per_image == (
            pytest.approx(expected, abs=1e-12, nan_ok=True)
        )


def test_defective_images_do_not_move_the_shared_rate():
    maps, masks = images(3, size=60)
    loud = maps.copy()
    loud[3:][~masks[3:]] = 100.0
    expected = aupimo(maps, masks, bounds=(1e-3, 1e-2)).per_image
    assert aupimo(loud, masks, bounds=(1e-3, 1e-2)).per_image == pytest.approx(
        expected, nan_ok=True
    )


def test_perfect_blind_and_constant_maps():
    masks = images(4, size=200)[1]
    assert aupimo(masks, masks).per_image[3:] == pytest.approx(1)
    assert aupimo(~masks, masks).per_image[3:] == pytest.approx(0)
    # one tie of everything: flagging x of the normal pixels finds x of the defect
    assert aupimo(np.zeros(masks.shape), masks).mean == pytest.approx(9e-5 / np.log(10))


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (np.zeros((4, 400, 400)), "no image has a defect"),
        (np.eye(40)[None].repeat(3, 0), "no image is normal"),
        (np.stack([np.zeros((300, 300)), np.eye(300)]), "90000 pixels, too few"),
    ],
)
def test_where_undefined_the_values_are_nan_with_a_warning(masks, message):
    with pytest.warns(UserWarning, match=message) as caught:
        values = aupimo(np.random.default_rng(0).random(masks.shape), masks)
    assert np.isnan(values.mean) and np.isnan(values.per_image).all()
    assert values.per_image.shape == masks.shape[:1]
    assert [warning.filename for warning in caught] == [__file__]


def test_as_many_normal_pixels_as_the_lower_bound_needs_are_enough():
    masks = np.zeros((2, 250, 400))
    masks[1, 0, 0] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert aupimo(masks, masks).mean == 1


@pytest.mark.parametrize("bounds", [(0, 1e-4), (1e-4, 1e-5), (1e-3, 1e-3), (1e-5, 2), (np.nan, 1)])
def test_impossible_bounds_are_refused(bounds):
    with pytest.raises(InputError, match="bounds"):
        aupimo(*images(0), bounds=bounds)


def test_masks_of_another_size_are_refused():
    with pytest.raises(InputError, match=r"\(2, 4, 4\).*\(2, 3, 3\)"):
        aupimo(np.zeros((2, 4, 4)), np.zeros((2, 3, 3)))
