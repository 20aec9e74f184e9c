"""Tracks of anomalous regions, in the forms of two groups of authors."""

import pytest

from vlad.datasets.footage.tracks import find_tracks, read_tracks
from vlad.errors import InputError


def test_corners(tmp_path):
    (tmp_path / "01_0014.txt").write_text("0,154,4,142,119,249\n1,154,0,0,0,0\n")
    assert find_tracks(tmp_path, "01_0014") == tmp_path / "01_0014.txt"
    assert read_tracks(tmp_path / "01_0014.txt").tolist() == [
        [154, 4, 142, 116, 108, 0],
        [154, 0, 0, 1, 1, 1],
    ]


def test_middles(tmp_path):
    file = tmp_path / "Test003_gt.txt"
    file.write_text("001.tif 1 10.5 20 4 6\n012.tif 2 10 20 4 6\n")
    assert find_tracks(tmp_path, "Test003") == find_tracks(tmp_path, "03") == file
    assert find_tracks(tmp_path, "04") is None
    assert read_tracks(file).tolist() == [[0, 8, 17, 4, 6, 1], [11, 8, 17, 4, 6, 2]]


def test_a_damaged_line_is_said(tmp_path):
    (tmp_path / "a.txt").write_text("1,2,3\n")
    with pytest.raises(InputError, match="has the line '1,2,3'"):
        read_tracks(tmp_path / "a.txt")
