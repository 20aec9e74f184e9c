"""Memories of captions in Parquet."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlad.errors import PromptError
from vlad.prompts import load_bank

ROWS = {
    "side": ["anomalous", "normal", "normal"],
    "caption": ["a bag stands alone", "people walk on the {}", "it rains"],
    "action": ["leaving a bag", "walking", None],
}


@pytest.fixture
def write(tmp_path):
    def write(rows, metadata=None):
        table = pa.table(rows).replace_schema_metadata(metadata)
        pq.write_table(table, tmp_path / "gate.parquet")
        return tmp_path / "gate.parquet"

    return write


def test_captions_get_their_side_and_action_in_front(write):
    bank = load_bank(write(ROWS, {"licence": "CC0-1.0", "title": "Gate", "source": "ours"}))
    assert (bank.name, bank.title, bank.source, bank.licence) == ("gate", "Gate", "ours", "CC0-1.0")
    prompts = bank.expand("car_park")
    assert prompts.anomalous == (
        "Anomalous Scene: Action Category: leaving a bag. Description: a bag stands alone",
    )
    assert prompts.normal == (
        "Normal Scene: Action Category: walking. Description: people walk on the car park",
        "Normal Scene: it rains",
    )


def test_they_have_the_form_of_the_captions_that_ship(write):
    shipped = load_bank("scenes").expand("square")
    start, caption = shipped.normal[0].split(" Description: ")
    action = start.removeprefix("Normal Scene: Action Category: ").removesuffix(".")
    rows = {"side": ["normal", "anomalous"], "caption": [caption, "x"], "action": [action, None]}
    assert load_bank(write(rows)).expand("square").normal == shipped.normal[:1]


def test_more_captions_than_a_toml_file_may_have(write):
    captions = [f"scene {i}" for i in range(30_000)]
    rows = {"side": ["normal", "anomalous"] * 15_000, "caption": captions}
    bank = load_bank(write(rows))
    assert bank.wording.counts == {"normal": 15_000, "anomalous": 15_000}
    assert bank.licence == "not stated"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"side": ["odd", "normal", "normal"]},
            "row 1: side is 'odd'; correct it (write normal or anomalous",
        ),
        ({"side": [None, "normal", "normal"]}, "row 1: side is None"),
        ({"side": ["normal"] * 3}, "has 0 anomalous captions"),
        ({"caption": ["a", "  ", "b"]}, "row 2: caption is '  '; correct it (write a text"),
        ({"caption": ["a", "b {x}", "b"]}, "row 2: caption is 'b {x}'"),
        ({"caption": ["a", "b", "b" * 1001]}, "row 3: caption is"),
        ({"caption": [1, 2, 3]}, "row 1: caption is 1"),
        ({"action": [1, 2, 3]}, "row 1: action is 1"),
        (
            {"caption": ["a", "b", "b"], "action": [None] * 3},
            "row 3: caption is 'b'; correct it (remove the",
        ),
        ({"score": [1, 2, 3]}, "has the columns side, caption, action, score; give it"),
    ],
)
def test_what_is_wrong_is_said(write, change, message):
    with pytest.raises(PromptError) as found:
        load_bank(write(ROWS | change))
    assert message in str(found.value)


def test_a_file_that_is_no_table_is_refused(tmp_path):
    with pytest.raises(PromptError, match="cannot be read as Parquet"):
        load_bank(tmp_path / "none.parquet")
    (tmp_path / "odd.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(PromptError, match="cannot be read as Parquet"):
        load_bank(tmp_path / "odd.parquet")
