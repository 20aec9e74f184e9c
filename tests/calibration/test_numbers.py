"""Numbers out of their range are refused, wherever a calibration comes from."""

import numpy as np
import pytest

from vlad.calibration import from_labels, from_normals, from_unlabelled
from vlad.errors import InputError

SCORES = {"memory": np.linspace(0, 1, 60)}
SOURCES = {
    "normals": lambda **options: from_normals(SCORES, **options),
    "labels": lambda **options: from_labels(SCORES, np.arange(60) > 50, **options),
    "unlabelled": lambda **options: from_unlabelled(SCORES, **options),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("false_alarms", 2, "give a number between 0 and 1"),
        ("false_alarms", float("nan"), "give a number between 0 and 1"),
        ("false_alarms", "0.05", "give a number between 0 and 1"),
        ("confidence", 90, "give a number between 0.5 and 1"),
        ("confidence", True, "give a number between 0.5 and 1"),
    ],
)
def test_a_share_out_of_its_range(source, name, value, says):
    with pytest.raises(InputError) as caught:
        SOURCES[source](**{name: value})
    assert str(caught.value) == f"{name} is {value!r}; {says}."
    assert SOURCES[source](false_alarms=0.05, confidence=0.9).confidence == 0.9


def test_a_seed_that_is_no_whole_number():
    with pytest.raises(InputError, match=r"seed is 0\.5; give a whole number of 0 or more"):
        from_unlabelled(SCORES, seed=0.5)
