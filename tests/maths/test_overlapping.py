"""Windows that overlap by half, and their values as a map."""

import pytest
import torch

from vlad.maths.overlapping import half_overlapping, of_windows


def test_windows_have_two_of_the_cells_of_each_side():
    image = torch.arange(6.0 * 9).reshape(1, 6, 9)
    found = list(half_overlapping(image, 2))
    assert [tuple(window.shape) for window in found] == [(1, 4, 6)] * 4
    torch.testing.assert_close(found[0], image[:, :4, :6])
    torch.testing.assert_close(found[1], image[:, :4, 3:])
    torch.testing.assert_close(found[2], image[:, 2:, :6])
    torch.testing.assert_close(found[3], image[:, 2:, 3:])


@pytest.mark.parametrize("size", [(7, 11), (4, 4), (50, 31)])
def test_windows_cover_sides_that_they_do_not_divide(size):
    places = torch.arange(size[0] * size[1]).reshape(1, *size)
    seen = torch.cat([window.flatten() for window in half_overlapping(places, 3)])
    assert seen.unique().tolist() == list(range(size[0] * size[1]))
    assert all(window.numel() for window in half_overlapping(places, 3))


def test_too_few_pixels():
    with pytest.raises(ValueError, match="2×9 pixels do not make 2×2"):
        list(half_overlapping(torch.zeros(3, 2, 9), 2))


def test_a_cell_has_the_mean_of_the_windows_over_it():
    values = torch.tensor([[[1.0, 2.0], [4.0, 8.0]]])
    expected = torch.tensor([[[1, 1.5, 2], [2.5, 3.75, 5], [4, 6, 8]]])
    torch.testing.assert_close(of_windows(values), expected)


def test_a_window_without_a_value_leaves_its_cells_without_one():
    values = torch.zeros(2, 2, 2)
    values[1, 0, 0] = torch.nan
    found = of_windows(values)
    assert not found[0].isnan().any()
    assert found[1].isnan().tolist() == [[True, True, False], [True, True, False], [False] * 3]
