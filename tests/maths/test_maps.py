"""Upsampling, smoothing and pooling against the libraries they stand for."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from vlad.maths.maps import gaussian_blur, top_mean, upsample


@pytest.mark.parametrize("sigma", [0.7, 4.0])
@pytest.mark.parametrize("size", [(64, 48), (9, 20)])  # the smaller is narrower than the kernel
def test_blur_is_scipys(sigma, size):
    maps = torch.rand(2, *size, generator=torch.Generator().manual_seed(0))
    expected = [scipy.ndimage.gaussian_filter(m, sigma) for m in maps.double().numpy()]
    np.testing.assert_allclose(gaussian_blur(maps, sigma), expected, atol=1e-6)


@pytest.mark.parametrize("align_corners", [True, False])
def test_smoothing_while_upsampling_is_scipys_after_it(align_corners):
    grid = torch.rand(2, 5, 4, generator=torch.Generator().manual_seed(0))
    full = upsample(grid, (40, 60), align_corners=align_corners)
    expected = [scipy.ndimage.gaussian_filter(m, 3.0) for m in full.double().numpy()]
    found = upsample(grid, (40, 60), sigma=3.0, align_corners=align_corners)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_upsampling_keeps_a_constant_and_the_bounds():
    grid = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(0))
    for sigma in (0.0, 3.0):
        full = upsample(grid, (40, 60), sigma=sigma)
        assert full.shape == (2, 40, 60)
        assert full.min() >= grid.min() - 1e-6
        assert full.max() <= grid.max() + 1e-6
    flat = upsample(torch.full((1, 3, 3), 0.25), (30, 30), sigma=4.0)
    torch.testing.assert_close(flat, torch.full((1, 30, 30), 0.25))


@pytest.mark.parametrize(("fraction", "count"), [(0, 1), (0.01, 1), (0.29, 2), (1, 10)])
def test_top_mean(fraction, count):
    values = torch.randperm(10, generator=torch.Generator().manual_seed(0)).float()[None]
    assert top_mean(values, fraction) == values[0].sort().values[-count:].mean()
