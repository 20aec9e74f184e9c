"""Sentences about names that nobody knows."""

import pytest

from vlad.system.text import counted, instead, nearest

NAMES = ["winclip", "memory", "Real_IAD"]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("memroy", "memory"),
        ("MEMORY", "memory"),
        ("realiad", "Real_IAD"),
        ("zebra", None),
        (3, None),
    ],
)
def test_the_nearest_name(name, near):
    assert nearest(name, NAMES) == near


def test_a_noun_agrees_with_its_number():
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


def test_the_end_of_a_sentence():
    assert instead("memroy", NAMES) == ". Did you mean memory?"
    assert instead("memroy", NAMES, prefix="head.") == ". Did you mean head.memory?"
    assert instead("zebra", NAMES[:2]) == "; choose from winclip, memory."
    assert instead("zebra", NAMES[:2], prefix="x.") == "; choose from x.winclip, x.memory."
    assert instead("zebra", NAMES, otherwise="give a file") == "; give a file."
    assert instead("zebra", []) == "; leave it out."
