"""Parts of a score sum to it, and lie where it comes from."""

import torch

from vlad.maths.maps import top_mean, upsample
from vlad.maths.parts import by_cell, parts_of, worst_cells


def values(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_parts_of_a_mean_of_the_top_are_its_values_over_their_number():
    found = parts_of(lambda x: top_mean(x, 0.5), torch.tensor([[4.0, 1.0, 3.0, 2.0]]))
    assert found.tolist() == [[2.0, 0.0, 1.5, 0.0]]


def test_parts_of_a_smoothed_maximum_sum_to_it():
    def pool(cells):
        return upsample(cells, (32, 32), sigma=4.0).flatten(1).amax(dim=1)

    cells = values(2, 4, 4)
    torch.testing.assert_close(parts_of(pool, cells).sum(dim=(1, 2)), pool(cells))


def test_parts_are_found_without_gradients_and_in_inference_mode():
    expected = parts_of(lambda x: x.amax(dim=1), values(1, 5))
    with torch.inference_mode():
        found = parts_of(lambda x: x.amax(dim=1), values(1, 5))
    assert torch.equal(found, expected)


def test_pixels_add_up_in_their_cells():
    pixels = torch.arange(24.0).reshape(1, 4, 6)
    found = by_cell(pixels, (2, 3))
    assert found.tolist() == [[14.0, 22.0, 30.0, 62.0, 70.0, 78.0]]


def test_cells_that_pixels_do_not_fill_keep_the_sum():
    pixels = values(1, 7, 5)
    torch.testing.assert_close(by_cell(pixels, (3, 2)).sum(), pixels.sum())


def test_the_worst_cell_is_in_the_region():
    regions = torch.tensor([[True, False, True, False], [False, False, True, True]])
    assert worst_cells(torch.tensor([1.0, 9.0, 2.0, -1.0]), regions).tolist() == [2, 2]
