"""Few shots: which of the normal images a head is shown."""

from pathlib import Path

import pytest

from vlad.datasets.shots import draw_shots
from vlad.errors import InputError
from vlad.types import Sample

SAMPLES = [Sample(Path(f"{i}.png"), str(i)) for i in range(9)]


def test_a_seed_draws_the_same_images_in_their_order():
    drawn = draw_shots(SAMPLES, 4, 7)
    assert drawn == draw_shots(SAMPLES, 4, 7) == sorted(drawn, key=SAMPLES.index)
    assert len({sample.id for sample in drawn}) == 4
    assert drawn != draw_shots(SAMPLES, 4, 8)
    assert draw_shots(SAMPLES, None, 0) == SAMPLES


@pytest.mark.parametrize(
    ("k_shot", "seed", "says"),
    [
        (10, 0, "only 9 normal images"),
        (-1, 0, "k_shot is -1; give a whole number of 0 or more"),
        (True, 0, "k_shot is True"),
        (2.0, 0, "k_shot is 2.0"),
        (2, -1, "seed is -1; give a whole number of 0 or more"),
        (2, "0", "seed is '0'"),
    ],
)
def test_numbers_that_cannot_be_drawn_by(k_shot, seed, says):
    with pytest.raises(InputError) as caught:
        draw_shots(SAMPLES, k_shot, seed)
    assert says in str(caught.value)
