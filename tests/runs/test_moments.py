"""Events over the rows of one source."""

import pytest

from vlad.results.eventrules import EventRules
from vlad.results.rows import Row, State
from vlad.runs.moments import Moments

BEGUN = 1_800_000_000 * 10**9
HOUR = 3600 * 10**9


def row(at: float, score: float, other: float = 0.0, **more) -> Row:
    time = BEGUN + round(at * 1e9)
    return Row(f"frames/a/{at:06.1f}.png", {"memory": score, "mvg": other}, None, State(0, 0, time))


@pytest.fixture
def moments():
    rules = EventRules({"memory": 0.5, "mvg": 0.8}, {"memory": 0.3, "mvg": 0.8})
    return Moments("a", rules, 2.0)


def test_events_of_all_heads_are_numbered_by_their_beginning(moments):
    box = (1.0, 2.0, 3.0, 4.0)
    found = [
        moments.add(row(0, 0.1, 0.9), {}),
        moments.add(row(1, 0.6, 0.9), {"memory": (box, 0.7)}),
        moments.add(row(2, 0.9, 0.1), {"memory": ((0.0, 0.0, 1.0, 1.0), 0.6)}),
        moments.add(row(3, 0.2), {}),
    ]
    numbers = [(m.columns.get("memory_event"), m.columns.get("mvg_event")) for m in found]
    assert numbers == [(None, 1), (2, 1), (2, None), (None, None)]
    assert [one.number for one in found[2].ended] == [1]
    (ended,) = found[3].ended
    assert ended.head == "memory" and ended.event.frames == 2
    assert ended.frames == ("frames/a/0001.0.png", "frames/a/0002.0.png", "frames/a/0002.0.png")
    assert [at - BEGUN for at in ended.times] == [10**9, 2 * 10**9, 2 * 10**9]
    assert ended.region == (box, 0.7)  # the highest of all its frames
    assert not moments.going


def test_a_camera_that_is_away_for_an_hour_ends_its_event_when_the_gap_has_passed(moments):
    moments.add(row(0, 0.9), {})
    assert moments.away(BEGUN + 2 * 10**9) == []
    (ended,) = moments.away(BEGUN + 2 * 10**9 + 1)
    assert ended.event.ended == "gap" and ended.times[1] == BEGUN
    assert moments.away(BEGUN + HOUR) == [] and not moments.going
    back = moments.add(row(3600, 0.9), {})
    assert back.ended == [] and [one.number for one in back.began] == [2]


def test_a_frame_with_an_error_is_no_part_of_an_event(moments):
    moments.add(row(0, 0.9), {})
    failed = Row("frames/a/1.png", {}, "cannot use it", State(0, 0, BEGUN + 10**9))
    assert moments.add(failed, {}).columns == {}
    (ended,) = moments.close()
    assert ended.event.frames == 1 and ended.event.ended == "end"


def test_frames_with_errors_alone_end_an_event_when_the_gap_has_passed(moments):
    moments.add(row(0, 0.9), {})
    failed = [Row(f"frames/a/{n}.png", {}, "no", row(n, 0).state) for n in (1, 2, 3)]
    ended = [[one.event.ended for one in moments.add(x, {}).ended] for x in failed]
    assert ended == [[], [], ["gap"]] and not moments.going


def test_a_live_row_without_a_state_has_the_time_in_its_name(moments):
    name = "frames/a/2027-01-15T08-00-01.500000Z.png"
    moments.add(row(0, 0.9), {})
    moments.add(Row(name, {"memory": 0.9, "mvg": 0.0}), {})
    (ended,) = moments.close()
    assert ended.times[1] - BEGUN == 1_500_000_000
    assert moments.add(Row("frames/a/000007.png", {"memory": 0.9, "mvg": 0.0}), {}).columns == {}
