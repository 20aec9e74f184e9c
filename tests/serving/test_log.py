"""The file of the request log: whole lines, over rotation and a full disk."""

import json
import os

import pytest

from vlad.errors import OutputError
from vlad.serving.log import RequestLog


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines() if line]


def test_lines_are_appended_to_what_is_there(tmp_path):
    file = tmp_path / "requests.jsonl"
    for number in (1, 2):
        RequestLog(str(file)).write({"number": number, "text": "a\nb\udcff"})
    assert [line["number"] for line in lines(file)] == [1, 2]
    assert lines(file)[0]["text"] == "a\nb\udcff"


def test_a_line_that_a_killed_service_left_half_spoils_no_other(tmp_path):
    file = tmp_path / "requests.jsonl"
    file.write_text('{"number":1}\n{"numb')
    for number in (2, 3):
        RequestLog(str(file)).write({"number": number})
    assert file.read_text() == '{"number":1}\n{"numb\n{"number":2}\n{"number":3}\n'


def test_a_file_that_was_moved_or_deleted_is_made_again(tmp_path):
    file, old = tmp_path / "requests.jsonl", tmp_path / "requests.jsonl.1"
    log = RequestLog(str(file))
    log.write({"number": 1})
    file.rename(old)
    log.write({"number": 2})
    assert (lines(old), lines(file)) == ([{"number": 1}], [{"number": 2}])
    file.unlink()
    log.write({"number": 3})
    assert lines(file) == [{"number": 3}]


def test_a_file_that_was_cut_is_written_from_its_start(tmp_path):
    file = tmp_path / "requests.jsonl"
    log = RequestLog(str(file))
    log.write({"number": 1})
    os.truncate(file, 0)  # as `copytruncate` of logrotate does
    log.write({"number": 2})
    assert file.read_text() == '{"number":2}\n'


def test_a_full_disk_is_told_once_and_what_is_missing_afterwards(tmp_path, monkeypatch, capsys):
    file = tmp_path / "requests.jsonl"
    log = RequestLog(str(file))
    room, write = 7, os.write

    def limited(handle, data):
        nonlocal room
        if room == 0:
            raise OSError(28, "No space left on device")
        taken = data[:room]
        room -= len(taken)
        return write(handle, taken)

    monkeypatch.setattr(os, "write", limited)
    for number in range(3):
        log.write({"number": number})
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"The request log {file} cannot be written" in said
    room = 1000
    for number in (3, 4):
        log.write({"number": number})
    assert capsys.readouterr().err == f"{file} can be written again; lines left out: 3.\n"
    # what was cut does not spoil the next line
    assert file.read_text() == '{"numbe\n{"number":3}\n{"number":4}\n'


def test_a_place_that_cannot_be_written_to_is_one_sentence(tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        RequestLog(str(tmp_path))
