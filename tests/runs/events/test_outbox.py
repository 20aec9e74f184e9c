"""Events on disk: in order, each once, and readable whatever stopped the run."""

import json

import pytest

from vlad.errors import OutputError
from vlad.runs.events.outbox import Outbox


def event(name: str) -> dict:
    return {"id": name, "path": f"{name}.png"}


def deliver(outbox: Outbox) -> str:
    name, body = outbox.first()
    assert json.loads(body) == event(name)
    outbox.done(name, len(body))
    return name


def test_events_come_in_order_and_a_repeat_is_left_out(tmp_path):
    outbox = Outbox(tmp_path / "events", "webhook").open()
    outbox.add([event("a"), event("b")])
    outbox.add([event("b"), event("c"), event("c")])
    assert outbox.waiting == 3
    assert [deliver(outbox) for _ in range(3)] == ["a", "b", "c"]
    assert outbox.waiting == 0


def test_another_process_goes_on_behind_what_was_delivered(tmp_path):
    first = Outbox(tmp_path, "webhook").open()
    first.add([event("a"), event("b"), event("c")])
    assert deliver(first) == "a"
    again = Outbox(tmp_path, "webhook").open()
    again.add([event("a"), event("b"), event("d")])
    assert again.waiting == 3
    assert [deliver(again) for _ in range(3)] == ["b", "c", "d"]
    assert Outbox(tmp_path, "webhook").open().waiting == 0
    other = Outbox(tmp_path, "command").open()
    assert other.waiting == 0


def test_half_a_line_is_as_if_it_had_not_been_written(tmp_path):
    first = Outbox(tmp_path, "webhook").open()
    first.add([event("a"), event("b")])
    deliver(first)
    with open(first.file, "ab") as file:
        file.write(b'{"id": "c", "pa')
    with open(first.marks, "ab") as file:
        file.write(b"b")  # its line end is missing, so it is no mark
    again = Outbox(tmp_path, "webhook").open()
    assert again.waiting == 1
    again.add([event("c")])
    assert [deliver(again), deliver(again)] == ["b", "c"]
    assert Outbox(tmp_path, "webhook").open().waiting == 0


@pytest.mark.parametrize("line", ["no JSON\n", "[]\n", '{"path": "a.png"}\n'])
def test_what_is_no_event_is_one_sentence(tmp_path, line):
    (tmp_path / "webhook.jsonl").write_text(line)
    with pytest.raises(OutputError, match=r"webhook.jsonl cannot be read back.*webhook.done"):
        Outbox(tmp_path, "webhook").open()


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "events").write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        Outbox(tmp_path / "events", "webhook").open()
