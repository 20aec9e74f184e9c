"""Clips of a run: names that their rows would share."""

import pytest

from vlad.errors import InputError
from vlad.images.video import Video
from vlad.runs.clips import check_names
from vlad.runs.frames import Footage


def test_clips_whose_rows_would_have_one_name_are_refused():
    clips = [Footage(Video(f"/{name}", name, live=False)) for name in ("a_b.mkv", "x/a:b.mkv")]
    check_names(clips[:1])
    with pytest.raises(InputError, match=r"2 clips are named a_b\.mkv"):
        check_names(clips)
