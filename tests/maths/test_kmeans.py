"""k-means against scikit-learn's steps and plain distances."""

import numpy as np
import torch
from sklearn.cluster import KMeans

from vlad.maths.kmeans import kmeans, squared_distances


def drawn(count=200):
    generator = torch.Generator().manual_seed(0)
    centres = 5 * torch.randn(4, 3, generator=generator)
    places = torch.randint(4, (count,), generator=generator)
    return centres[places] + torch.randn(count, 3, generator=generator)


def test_every_mean_is_that_of_the_rows_nearest_to_it():
    rows = drawn()
    means = kmeans(rows, 6, seed=1)
    nearest = squared_distances(rows, means).argmin(dim=1)
    for place, mean in enumerate(means):
        torch.testing.assert_close(rows[nearest == place].mean(dim=0), mean)


def test_it_is_as_near_as_scikit_learns():
    rows = drawn()
    theirs = KMeans(4, n_init=10, random_state=0).fit(rows.numpy())
    mine = squared_distances(rows, kmeans(rows, 4, seed=0)).amin(dim=1).sum().item()
    assert mine < 1.001 * theirs.inertia_


def test_the_seed_decides():
    rows = drawn()
    assert torch.equal(kmeans(rows, 9, seed=0), kmeans(rows, 9, seed=0))
    assert not torch.equal(kmeans(rows, 9, seed=0), kmeans(rows, 9, seed=1))


def test_there_are_no_more_means_than_different_rows():
    rows = torch.tensor([[0.0, 1], [2, 3], [0, 1], [2, 3]])
    found = kmeans(rows, 3, seed=0)
    assert sorted(found.tolist()) == [[0, 1], [2, 3]]


def test_distances_are_plain_ones():
    rows, means = drawn(10), drawn(3)
    plain = ((rows.numpy()[:, None] - means.numpy()) ** 2).sum(axis=-1)
    np.testing.assert_allclose(squared_distances(rows, means), plain, rtol=1e-3, atol=1e-4)
