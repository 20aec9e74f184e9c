"""Drift of a run on Ray: from its scores alone, from some of them however long it is."""

import json

import numpy as np
import pyarrow as pa
import pytest

from vlad.calibration import Calibration
from vlad.results.partitions import drift
from vlad.results.partitions.files import place

GOOD = np.random.default_rng(0).normal(0.5, 0.1, 200)


def calibration(source="normals", good=GOOD):
    return Calibration(source, {"memory": good}, {"memory": 0.8}, {"memory": 0.05})


@pytest.fixture
def write(tmp_path):
    def parts(scores, size=100):
        where, names = place(str(tmp_path)), []
        with where.writing() as folder:
            for at in range(0, len(scores), size):
                names.append(f"scores/date=2026-11-29/part-{at}.parquet")
                some = pa.array(scores[at : at + size], pa.float64())
                where.write(folder, names[-1], pa.table({"memory": some, "other": some}))
        return where, names

    return parts


def test_what_moved_is_a_sentence_and_a_file(write, tmp_path):
    random = np.random.default_rng(1)
    alike = [*random.normal(0.5, 0.1, 300), None]
    found = drift.write_drift(*write(alike), 300, calibration())
    assert found.sentence == (
        "No drift: these 300 images score like the 200 good images of calibration."
    )
    found = drift.write_drift(*write(random.normal(0.7, 0.1, 2000)), 2000, calibration("labels"))
    assert found.sentence.startswith("Drift: 1000 of these 2000 images score higher by memory")
    assert found.sentence.endswith(
        "How they look was not compared: look at the highest scores before you move the threshold."
    )
    content = json.loads((tmp_path / "drift.json").read_text())
    assert content["drift"] is True and content["sentence"] == found.sentence
    assert [part["name"] for part in content["parts"]] == ["memory"]


def test_only_some_partitions_are_read_from_first_to_last(write, monkeypatch):
    asked = []
    reads = drift.read
    monkeypatch.setattr(drift, "read", lambda at, names, wanted: asked.extend(names)
                        or reads(at, names, wanted))  # fmt: skip
    where, names = write(np.tile(GOOD, 2), size=4)
    drift.write_drift(where, names, 400, calibration())
    assert len(names) == 100 and len({*asked}) == 64 and asked[::63] == [names[0], names[-1]]


def test_where_nothing_can_be_compared(write):
    parts = write([0.5] * 9)
    assert "too few images" in drift.write_drift(*parts, 9, calibration()).sentence
    parts = write([0.5] * 10)
    assert "too few images" in drift.write_drift(*parts, 10, calibration(good=GOOD[:9])).sentence
    assert "too few" not in drift.write_drift(*parts, 10, calibration(good=GOOD[:10])).sentence
    assert drift.write_drift(*parts, 10, calibration("unlabelled")) is None
    assert drift.write_drift(*parts, 10, Calibration.fixed("memory", 0.5)) is None
    assert drift.write_drift(*write([None]), 0, calibration()) is None
