"""What is kept of frames: read back as written, also after a command was killed."""

import os

import pytest

from vlad.errors import OutputError
from vlad.results.framenotes import FILE, MOST, FrameNote, append_notes, read_notes

BOX = (1.0, 2.0, 3.0, 4.0)


def test_notes_are_read_back(tmp_path):
    first = FrameNote("clip/000000.png", {"memory": 0.5}, {"memory": [(BOX, 0.5)]})
    append_notes(tmp_path, [first, FrameNote("clip/000001.png", {"memory": 0.25})])
    append_notes(tmp_path, [FrameNote("clip/000002.png")])
    found = read_notes(tmp_path)
    assert list(found) == [f"clip/00000{n}.png" for n in range(3)]
    assert found["clip/000000.png"] == first
    assert list(read_notes(tmp_path, {"clip/000001.png"})) == ["clip/000001.png"]


def test_without_a_file_there_are_none(tmp_path):
    assert read_notes(tmp_path) == {}


def test_a_frame_scored_again_counts_once_as_last_scored(tmp_path):
    append_notes(tmp_path, [FrameNote("a", {"memory": 0.5})])
    append_notes(tmp_path, [FrameNote("a", {"memory": 0.75})])
    assert read_notes(tmp_path)["a"].maxima == {"memory": 0.75}


def test_a_line_torn_by_a_kill_costs_no_other_line(tmp_path):
    append_notes(tmp_path, [FrameNote("a", {"memory": 0.5}), FrameNote("b", {"memory": 0.5})])
    os.truncate(tmp_path / FILE, os.path.getsize(tmp_path / FILE) - 7)
    append_notes(tmp_path, [FrameNote("c", {"memory": 0.25})])
    assert set(read_notes(tmp_path)) == {"a", "c"}


def test_of_many_regions_the_highest_are_kept(tmp_path):
    regions = [((float(n), 0.0, 1.0, 1.0), 1.0 - n / 100) for n in range(MOST + 5)]
    append_notes(tmp_path, [FrameNote("a", {}, {"memory": regions})])
    assert read_notes(tmp_path)["a"].regions["memory"] == regions[:MOST]


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(OutputError, match=r"frames\.jsonl"):
        append_notes(tmp_path / "none", [FrameNote("a")])
