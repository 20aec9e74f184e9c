"""Plain progress lines, and the bar on a terminal."""

import io
import os
import sys

import pytest

from vlad.system.progress import Progress, duration


def run(total, interval, steps, **kwargs):
    stream = io.StringIO()
    with Progress(total, interval=interval, stream=stream, **kwargs) as progress:
        for count, failed in steps:
            progress.advance(count, failed)
    return stream.getvalue().splitlines()


def test_a_log_gets_the_first_and_the_last_line_and_few_between():
    lines = run(400, 3600, [(4, 0)] * 100)
    assert len(lines) == 2
    assert lines[0].startswith("scored 4/400 images, ")
    assert "images/s" in lines[0] and lines[0].endswith(" left")
    assert lines[1].startswith("scored 400/400 images, ") and lines[1].endswith(" in all")


def test_a_line_is_printed_whenever_the_interval_has_passed():
    assert len(run(10, 0, [(1, 0)] * 10)) == 10


def test_a_sentence_has_a_line_of_its_own():
    stream = io.StringIO()
    with Progress(2, interval=3600, stream=stream) as progress:
        progress.say("2 requests left.")
    assert stream.getvalue().splitlines()[0] == "2 requests left."


def test_failures_are_counted():
    lines = run(3, 3600, [(1, 0), (2, 2)])
    assert "failed" not in lines[0]
    assert lines[-1].endswith("2 failed")


def test_images_of_an_earlier_run_count_as_done_but_not_in_the_speed():
    assert run(10, 3600, [], done=4) == ["scored 4/10 images"]
    assert run(1_000_000, 3600, [(1, 0)], done=999_998)[0].startswith("scored 999999/1000000")


def test_a_run_that_is_stopped_still_says_how_far_it_came():
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), Progress(9, stream=stream) as progress:
        progress.advance(2)
        progress.advance(3)
        raise KeyboardInterrupt
    assert stream.getvalue().splitlines()[-1].startswith("scored 5/9 images")


def test_without_a_total_lines_count_on():
    lines = run(None, 0, [(4, 0), (4, 1)], unit="frames")
    assert len(lines) == 3 and "left" not in " ".join(lines)
    assert lines[0].startswith("scored 4 frames, ") and lines[0].endswith(" frames/s")
    assert lines[2].startswith("scored 8 frames, ") and lines[2].endswith(" in all, 1 failed")


def test_track_counts_what_it_hands_on():
    stream = io.StringIO()
    with Progress(3, "drew", stream=stream) as progress:
        assert list(progress.track("abc")) == ["a", "b", "c"]
    assert stream.getvalue().splitlines()[-1].startswith("drew 3/3 images")


def read_all(master):
    """Everything a pseudo-terminal was told; one read may return only a part of it."""
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # Linux says so at the end
            part = b""
        if not part:
            os.close(master)
            return shown.decode()
        shown += part


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a Unix thing")
@pytest.mark.parametrize("columns", [100, 0])
def test_a_terminal_sees_speed_time_left_and_failures(columns):
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with open(slave, "w") as terminal, Progress(4, stream=terminal) as progress:
        progress.advance(4, 1)
    shown = read_all(master)
    for text in ("4/4", "images/s", "1 failed"):
        assert text in shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (82, "82 s"), (840, "14 min"), (3 * 3600 + 5 * 60, "3 h 05 min")],
)
def test_durations_are_said_in_the_size_that_matters(seconds, words):
    assert duration(seconds) == words
