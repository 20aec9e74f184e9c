"""events.csv of a run that goes on."""

import csv
from dataclasses import replace

import pytest

from vlad.errors import OutputError
from vlad.results.eventlog import FILE, EventLog, Logged
from vlad.time import Event

BEGUN = 1_800_000_000 * 10**9


def logged(number, start, frames, ended=None, region=None) -> Logged:
    end = start + frames - 1
    event = Event(start, end, start, float(start), float(end), float(start), 0.5, ended)
    times = tuple(BEGUN + at * 10**9 for at in (start, end, start))
    paths = tuple(f"frames/a/{at}.png" for at in (start, end, start))
    return Logged(number, "a", "memory", event, paths, times, region)


def table(out):
    with open(out / FILE, newline="") as file:
        return list(csv.DictReader(file))


def test_an_event_grows_and_ends_while_another_goes_on(tmp_path):
    log = EventLog(tmp_path, [])
    assert table(tmp_path) == []
    first, second = logged(1, 0, 1), logged(2, 5, 1, region=((1.0, 2.0, 3.0, 4.0), 0.9))
    log.update([first])
    log.update([first := logged(1, 0, 6), second])
    ended = replace(second, event=replace(second.event, ended="score"))
    log.update([ended])
    log.update([third := logged(3, 7, 2)])
    found = table(tmp_path)
    assert [(x["event"], x["frames"], x["ended"]) for x in found] == [
        ("1", "6", ""), ("2", "1", "score fell"), ("3", "2", ""),
    ]  # fmt: skip
    assert [found[1][name] for name in ("x", "y", "width", "height")] == [
        "1.0",
        "2.0",
        "3.0",
        "4.0",
    ]
    assert found[0]["x"] == "" and found[2]["peak_frame"] == "frames/a/7.png"
    log.update([replace(first, event=replace(first.event, ended="gap"))])
    log.update([replace(third, event=replace(third.event, ended="end"))])
    ends = [x["ended"] for x in table(tmp_path)]
    assert ends == ["gap in the frames", "score fell", "end of the frames"]
    # as written at once
    again = (tmp_path / FILE).read_bytes()
    every = [replace(first, event=replace(first.event, ended="gap")), ended]
    EventLog(tmp_path, [*every, replace(third, event=replace(third.event, ended="end"))])
    assert (tmp_path / FILE).read_bytes() == again


def test_lines_of_ended_events_are_not_written_again(tmp_path):
    log = EventLog(tmp_path, [logged(1, 0, 2, "score")])
    file = tmp_path / FILE
    file.write_bytes(file.read_bytes().replace(b"score fell", b"SCORE FELL"))
    log.update([logged(2, 5, 1)])
    assert [x["ended"] for x in table(tmp_path)] == ["SCORE FELL", ""]


def test_sentences(tmp_path):
    began = logged(4, 3, 1).sentence
    assert began == "Event 4 (memory) began at 2027-01-15T08:00:03.000000Z, score 0.5."
    assert logged(4, 3, 3, "gap").sentence == (
        "Event 4 (memory) ended at 2027-01-15T08:00:05.000000Z after 2.0 s and 3 frames, gap in "
        "the frames; peak 0.5 at 2027-01-15T08:00:03.000000Z."
    )


def test_a_file_that_is_gone_is_an_error(tmp_path):
    log = EventLog(tmp_path, [])
    (tmp_path / FILE).unlink()
    with pytest.raises(OutputError, match="cannot write"):
        log.update([logged(1, 0, 1)])
