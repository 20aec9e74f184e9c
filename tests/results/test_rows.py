import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlad.results.rows import Row, Rows

HEADS = ("winclip", "memory")
PATHS = st.sampled_from("abcdef")
ROWS = st.builds(
    Row,
    PATHS,
    st.dictionaries(st.sampled_from(HEADS), st.floats(allow_nan=False)),
    st.none() | st.text(),
)


@given(st.lists(st.tuples(st.sampled_from(["put", "delete", "reserve"]), PATHS, ROWS)))
def test_rows_behave_as_a_dictionary_of_them(steps):
    rows, plain = Rows(HEADS), {}
    for step, path, row in steps:
        if step == "put":
            rows[row.path] = plain[row.path] = row
        elif step == "reserve":
            rows.reserve([path])
        elif path in plain:
            del rows[path], plain[path]
        else:
            with pytest.raises(KeyError):
                del rows[path]
    assert rows == plain and len(rows) == len(plain) and set(rows) == set(plain)
    for path in "abcdef":
        assert rows.get(path) == plain.get(path)
        assert rows.scored(path) == (path in plain and plain[path].error is None)


def test_a_score_that_is_no_number_was_not_given():
    rows = Rows(HEADS)
    rows["a"] = Row("a", {"winclip": math.nan, "memory": 1.0})
    assert rows["a"].scores == {"memory": 1.0}


def test_rows_with_room_reserved_take_no_more():
    count = 20_000
    paths = [f"parts/{i:07}.png" for i in range(count)]
    rows = Rows(HEADS)
    rows.reserve(paths)
    tracemalloc.start()
    for path in paths:
        rows[path] = Row(path, {head: 0.5 for head in HEADS})
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == count and grown < count / 10
