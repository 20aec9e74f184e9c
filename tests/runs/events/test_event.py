"""What an event says, and that its id names one image in one state."""

import json
from dataclasses import replace

import numpy as np
import pytest

from vlad.calibration import from_normals
from vlad.results.eventlog import Logged
from vlad.results.folder import RunFolder
from vlad.results.rows import Row, State
from vlad.results.verdicts import Judged, decide
from vlad.runs.events.event import events_of, told
from vlad.time import Event


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


def test_an_event_in_time_is_told_at_its_begin_and_at_its_end(tmp_path):
    folder = RunFolder(tmp_path / "run", {"memory": (0.0, 1.0)}, {})
    begun = 1_800_000_000 * 10**9
    event = Event(3, 5, 4, 0.0, 2.0, 1.0, 0.9, None)
    paths = ("frames/a/3.png", "frames/caf\udce9/5.png", "frames/a/4.png")
    times = tuple(begun + at * 10**9 for at in (0, 2, 1))
    one = Logged(7, "a", "memory", event, paths, times, ((1, 2, 3, 4), 0.9))
    begin, again = told(folder, one), told(folder, replace(one, event=replace(event, last=6)))
    end = told(folder, replace(one, event=replace(event, ended="gap")))
    json.dumps(end).encode("ascii")
    assert begin["id"] == again["id"] != end["id"]
    other = replace(one, frames=("frames/a/2.png", *paths[1:]))
    assert told(folder, other)["id"] != begin["id"]
    assert (begin["event"], begin["time"], begin["end"], begin["ended"]) == (
        "begin", "2027-01-15T08:00:00.000000Z", None, "",
    )  # fmt: skip
    assert (end["event"], end["time"], end["end"], end["ended"]) == (
        "end", *["2027-01-15T08:00:02.000000Z"] * 2, "gap in the frames",
    )  # fmt: skip
    assert end["start"] == begin["start"] == begin["time"] and end["number"] == 7
    assert end["frames"] == 3 and end["last"]["path"] == "frames/caf\\xe9/5.png"
    assert end["peak"] == {
        "path": "frames/a/4.png", "time": "2027-01-15T08:00:01.000000Z", "score": 0.9,
    }  # fmt: skip
    assert end["region"] == {"x": 1.0, "y": 2.0, "width": 3.0, "height": 4.0}
    assert end["run"] == str(tmp_path / "run")
