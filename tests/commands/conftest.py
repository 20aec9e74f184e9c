"""What tests of vlad score share."""

from __future__ import annotations

import csv

import pytest
from click.testing import CliRunner

from vlad.cli import main


@pytest.fixture
def vlad(small_file):
    """Runs `vlad score` with the small backbone -> click's result."""

    def run(*args, backbone=str(small_file)):
        options = ["--backbone", backbone, "--device", "cpu"] if backbone else []
        return CliRunner().invoke(main, ["score", *map(str, args), *options])

    return run


@pytest.fixture
def rows():
    """The rows of scores.csv in a run's folder."""

    def read(out) -> list[dict[str, str]]:
        with open(out / "scores.csv", newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    return read
