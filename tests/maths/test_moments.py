"""Moments of batches against those of all rows, and shrinkage against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from vlad.maths.moments import Moments


@pytest.mark.parametrize("shape", [(37, 5), (11, 3, 4)])
def test_moments_of_parts(shape):
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 100
    whole = Moments.of(rows)
    parts = Moments.of(rows[:4]).merge(Moments.of(rows[4:5])).merge(Moments.of(rows[5:]))
    for name, x in whole.tensors().items():
        torch.testing.assert_close(parts.tensors()[name], x, rtol=1e-9, atol=1e-6)
    again = Moments.from_tensors(whole.tensors())
    assert again.count == shape[0] and torch.equal(again.scatter, whole.scatter)


def test_their_meaning():
    rows = torch.randn(9, 3, generator=torch.Generator().manual_seed(0)).double()
    found = Moments.of(rows)
    centred = rows - rows.mean(dim=0)
    squares = centred.square().sum(dim=1)
    torch.testing.assert_close(found.cubes, (squares[:, None] * centred).sum(dim=0))
    torch.testing.assert_close(found.quartes, squares.square().sum())
    np.testing.assert_allclose(found.covariance(freedom=1), np.cov(rows.T.numpy()))
    about = (rows - 2).T @ (rows - 2) / 9
    torch.testing.assert_close(found.covariance(centre=torch.full((3,), 2.0).double()), about)


@pytest.mark.parametrize("count", [3, 8, 200])
def test_shrinkage(count):
    rows = torch.randn(count, 6, generator=torch.Generator().manual_seed(0)).double()
    rows *= torch.tensor([1.0, 2, 3, 4, 5, 6])
    expected = LedoitWolf().fit(rows.numpy()).covariance_
    np.testing.assert_allclose(Moments.of(rows).ledoit_wolf(), expected, rtol=1e-9)
