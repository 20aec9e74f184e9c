"""benchmarks/compare.py finds what became slower in printed tables."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import compare

PRINTED = """one machine

| patches | s | of the product |
| --- | ---: | ---: |
| 225, cosine | 0.071 | {} |
| 1800, cosine | 0.48 | {} |

100 patches: 3 s

| other | s |
| --- | ---: |
| 225, cosine | 7 |
"""


def rows(*values: str) -> compare.Rows:
    return compare.read(PRINTED.format(*values), "of the product")


def test_the_named_column_is_read_and_only_it():
    assert rows("0.725", "0.892 of it") == {"225, cosine": 0.725, "1800, cosine": 0.892}


@pytest.mark.parametrize(("now", "slower"), [(0.96, False), (0.94, True), (2.0, False)])
def test_more_than_5_percent_slower_is_named(now, slower):
    found = {
        ("memory", "base"): [rows("1", "0.5"), rows("9", "0.5"), rows("1", "0.5")],
        ("memory", "now"): [rows(str(now), "0.5")] * 3,
    }
    table, named = compare.compared(found)
    assert named == ["memory: 225, cosine"] * slower
    assert table[0] == ["memory: 225, cosine", 1, now, now]


def test_less_is_faster_where_the_column_is_time():
    found = {("one-pass", "base"): [{"musc": 1.0}], ("one-pass", "now"): [{"musc": 1.06}]}
    assert compare.compared(found)[1] == ["one-pass: musc"]


def test_what_others_are_ratios_to_is_left_out():
    found = {("memory", tree): [rows("1", "0.5")] for tree in ("base", "now")}
    assert [row[0] for row in compare.compared(found)[0]] == ["memory: 1800, cosine"]


def test_a_part_that_this_tree_fails_to_measure_is_named():
    found = {("text", "base"): [], ("text", "now"): [{"a": 1.0}], ("musc", "now"): []}
    assert compare.broken(found) == ["musc"]


def test_rows_of_one_tree_alone_are_shown():
    found = {("memory", "base"): [{"old": 1.0}], ("memory", "now"): [{"new": 2.0}]}
    table, named = compare.compared(found)
    assert table == [["memory: old", 1.0, "–", "–"], ["memory: new", "–", 2.0, "–"]]
    assert not named
