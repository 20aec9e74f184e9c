"""Events as tables: their columns, and the track of the region."""

import csv

import numpy as np

from vlad.results.eventtable import Found, Series, track_of, write_events
from vlad.results.framenotes import FrameNote
from vlad.time import Event

BEGAN = 1_767_323_045_000_000_000  # 2026-01-02T03:04:05Z
PATHS = [f"clip.mp4/{n}" for n in range(6)]
SECONDS = np.arange(6) / 2
SCORES = {"memory": np.array([0, 1, 3, 2, 1, 0.0])}
TIMES = BEGAN + (SECONDS * 1e9).astype(np.int64)
SERIES = Series("clip.mp4", PATHS, TIMES, SECONDS, SCORES, SCORES)
EVENT = Event(1, 4, 2, 0.5, 2.0, 1.0, 3.0, "gap")
LOW, HIGH, FAR = (0.0, 0.0, 10.0, 10.0), (1.0, 0.0, 10.0, 10.0), (40.0, 40.0, 5.0, 5.0)


def notes(**regions):
    return {PATHS[int(n[1:])]: FrameNote("", {}, {"memory": rows}) for n, rows in regions.items()}


def table(file):
    with open(file, newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def test_the_track_with_the_highest_map_value_is_that_of_the_event():
    given = notes(f1=[(LOW, 0.4), (FAR, 0.6)], f2=[(FAR, 0.5), (HIGH, 0.9)], f3=[(HIGH, 0.7)])
    assert track_of(EVENT, "memory", PATHS, given) == [
        (1, LOW, 0.4),
        (2, HIGH, 0.9),
        (3, HIGH, 0.7),
    ]


def test_frames_outside_the_event_and_other_heads_do_not_count():
    given = notes(f0=[(LOW, 0.9)], f2=[(LOW, 0.2)], f5=[(LOW, 0.9)])
    assert track_of(EVENT, "memory", PATHS, given) == [(2, LOW, 0.2)]
    assert track_of(EVENT, "winclip", PATHS, given) == []


def test_tables_have_a_row_an_event_and_a_row_a_frame_of_its_track(tmp_path):
    track = [(1, LOW, 0.4), (2, HIGH, 0.9)]
    found = [Found(SERIES, "memory", EVENT, track), Found(SERIES, "memory", EVENT, [])]
    file = write_events(tmp_path, found, {1: "clips/0002.mp4"})
    first, second = table(file)
    assert (first["event"], first["source"], first["head"]) == ("1", "clip.mp4", "memory")
    assert (first["start"], first["end"], first["peak"]) == ("0.5", "2.0", "1.0")
    assert (first["score"], first["frames"]) == ("3.0", "4")
    assert first["ended"] == "gap in the frames"
    assert first["start_time"] == "2026-01-02T03:04:05.500000Z"
    assert first["end_time"] == "2026-01-02T03:04:07.000000Z"
    # the box where the map is highest
    assert [float(first[n]) for n in ("x", "y", "width", "height")] == list(HIGH)
    assert (first["track_frames"], first["clip"]) == ("2", "")
    assert (second["x"], second["track_frames"], second["clip"]) == ("", "0", "clips/0002.mp4")
    tracks = table(tmp_path / "tracks.csv")
    assert [(row["event"], row["seconds"], row["score"]) for row in tracks] == [
        ("1", "0.5", "0.4"), ("1", "1.0", "0.9"),
    ]  # fmt: skip


def test_the_frame_that_shows_an_event_has_its_highest_region():
    assert Found(SERIES, "memory", EVENT, [(3, LOW, 0.4), (4, HIGH, 0.9)]).shown == 4
    assert Found(SERIES, "memory", EVENT, []).shown == EVENT.peak


def test_without_events_the_tables_have_their_heads(tmp_path):
    write_events(tmp_path, [], {})
    assert (tmp_path / "events.csv").read_text().startswith("event,source,head,start,end,peak")
    assert (tmp_path / "tracks.csv").read_text().startswith("event,seconds,x,y,width,height,score")
