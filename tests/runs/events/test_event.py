"""What an event says, and that its id names one image in one state."""

import json

import numpy as np
import pytest

from vlad.calibration import from_normals
from vlad.results.folder import RunFolder
from vlad.results.rows import Row, State
from vlad.results.verdicts import Judged, decide
from vlad.runs.events.event import events_of


@pytest.fixture
def made(tmp_path):
    """rows -> their events, of a run of two heads that are fused."""
    folder = RunFolder(tmp_path / "run", {"memory": (0.0, 1.0), "mvg": (0.0, 1.0)}, {})
    normals = np.linspace(0, 0.5, 60)
    calibration = from_normals({"memory": normals, "mvg": normals}, method="fisher")

    def make(*rows):
        good = [row for row in rows if row.error is None]
        scores = {h: np.array([row.scores[h] for row in good]) for h in folder.heads}
        columns = decide(calibration, [row.path for row in good], scores)
        times = {row.path: "2026-11-29T12:00:00.000000Z" for row in rows}
        return events_of(folder, rows, Judged(calibration, {"time": times, **columns}, {}))

    return make


def row(path, score, size=10, modified=20, read=30, **more):
    return Row(path, {"memory": score, "mvg": score}, None, State(size, modified, read), **more)


def test_it_holds_what_scores_csv_holds_and_only_of_anomalous_images(made, tmp_path):
    bad = row("camera/caf\udce9.png", 0.9, kinds={"memory": "dent"})
    failed = Row("camera/c.png", {}, "cannot read camera/c.png", State(1, 2, 3))
    (event,) = made(row("camera/a.png", 0.1), bad, failed)
    json.dumps(event).encode("ascii")
    assert event["path"] == "camera/caf\\xe9.png"  # receivers refuse what is no Unicode
    assert event["time"] == "2026-11-29T12:00:00.000000Z" and event["verdict"] == "anomalous"
    assert event["run"] == str(tmp_path / "run")
    assert list(event["heads"]) == ["memory", "mvg", "fused"]
    memory = event["heads"]["memory"]
    assert memory["score"] == 0.9 and memory["kind"] == "dent" and memory["verdict"] == "anomalous"
    assert memory["p_value"] == pytest.approx(1 / 61) and memory["severity"] >= 1
    assert memory["abstain"] is False
    assert event["heads"]["fused"]["p_value"] < memory["p_value"] * 2


def test_its_id_changes_with_path_and_file_and_not_with_the_time_of_reading(made):
    def name(*state, path="a.png"):
        return made(row(path, 0.9, *state))[0]["id"]

    assert name(10, 20, 30) == name(10, 20, 31)
    different = {name(10, 20), name(11, 20), name(10, 21), name(10, 20, path="b.png")}
    assert len(different) == 4
