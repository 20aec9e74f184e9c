"""Language-guided projection against its definition: singular vectors of all differences."""

from itertools import combinations, product

import pytest
import torch

from vlad.maths.guidance import guidance_basis, guided


def draw(*counts, dims=12):
    generator = torch.Generator().manual_seed(sum(counts))
    return [torch.randn(n, dims, generator=generator) for n in counts]


def plain(groups, components):
    """The projector of the leading right singular vectors of all differences."""
    groups = [list(x) for x in groups]
    pairs = combinations(groups, 2) if len(groups) > 1 else [(groups[0], groups[0])]
    differences = torch.stack([a - b for one, two in pairs for a, b in product(one, two)])
    basis = torch.linalg.svd(differences.double(), full_matrices=False).Vh[:components].float()
    return basis.T @ basis


@pytest.mark.parametrize("counts", [(3, 4), (5,), (2, 3, 2)])
@pytest.mark.parametrize("components", [1, 3])
def test_directions_are_those_of_all_differences(counts, components):
    groups = draw(*counts)
    basis = guidance_basis(groups, components)
    torch.testing.assert_close(basis.T @ basis, plain(groups, components), atol=1e-5, rtol=0)
    torch.testing.assert_close(basis @ basis.T, torch.eye(components), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("counts", "rank"), [((3, 4), 6), ((5,), 4), ((2, 3, 2), 6), ((9, 9), 12), ((1, 1), 1)]
)
def test_no_direction_is_rounding(counts, rank):
    groups = draw(*counts)
    assert len(guidance_basis(groups)) == len(guidance_basis(groups, 1000)) == rank


def test_sentences_that_are_alike_give_no_direction():
    one = draw(1)[0]
    assert len(guidance_basis([one.expand(3, -1), one])) == 0


def test_what_is_kept_and_what_is_removed_add_up():
    basis, (x,) = guidance_basis(draw(3, 4), 2), draw(8)
    kept, left = guided(x, basis), guided(x, basis, ignore=True)
    torch.testing.assert_close(kept + left, x)
    torch.testing.assert_close(guided(kept, basis), kept)
    assert (left @ basis.T).abs().max() < 1e-5
