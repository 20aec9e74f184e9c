"""One value says how images are read and scored, wherever they come from."""

from dataclasses import fields
from inspect import signature

import pytest

from vlad.commands.options import OPTIONS
from vlad.detector import Detector
from vlad.errors import InputError
from vlad.scoring.setup import Setup

FIELDS = {field.name: field.default for field in fields(Setup)}


def test_its_fields_are_the_options_and_the_arguments_of_a_detector():
    assert OPTIONS.keys() - {"param", "adapter"} == FIELDS.keys() - {"roi", "roi_ignore"}
    parameters = signature(Detector).parameters
    assert {name: parameters[name].default for name in FIELDS} == FIELDS
    made = Detector("memory", bits=12, tile=64, bank="winclip", image_size=96)
    assert made.setup == Setup(bits=12, tile=64, bank="winclip", image_size=96)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"batch_size": 2.0},
        {"batch_size": True},
        {"max_pixels": -1},
        {"bits": 24},
        {"bits": 8},
        {"image_size": 0},
        {"image_size": "240"},
        {"tile": 8},
        {"overlap": 0.9},
        {"overlap": float("nan")},
    ],
    ids=str,
)
def test_a_value_out_of_its_range_is_refused_at_once(wrong):
    (value,) = wrong.values()
    with pytest.raises(InputError, match=str(value)):
        Setup(**wrong)
    with pytest.raises(InputError, match=str(value)):
        Detector(**wrong)
