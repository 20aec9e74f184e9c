"""A detector fitted on two drawn images."""

import pytest

import vlad


@pytest.fixture
def detector(small_file, drawn):
    made = vlad.load("memory", backbone=str(small_file), device="cpu", layers=(1, 3))
    return made.fit(drawn[:2])
