"""The command of --on-anomaly: no shell, a time limit, and what counts as a failure."""

import os
import select
import shlex
import sys

import pytest

from vlad.errors import InputError
from vlad.runs.events import Command


def python(code: str, *words: str) -> Command:
    return Command.of(shlex.join([sys.executable, "-c", code, *words]))


def test_it_gets_the_event_on_its_input_and_no_shell_reads_its_words(tmp_path):
    code = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read() + sys.argv[2])"
    command = python(code, str(tmp_path / "out"), "; touch $HOME `id`")
    assert command.send("abc", b'{"id": "abc"}') is None
    assert (tmp_path / "out").read_text() == '{"id": "abc"}\n; touch $HOME `id`'
    assert command.title == f"Command {os.path.basename(sys.executable)}"


def test_a_command_that_does_not_read_its_input_succeeds():
    assert python("pass").send("abc", b"x" * 10**6) is None


def test_failures_are_reasons(tmp_path):
    assert python("raise SystemExit(3)").send("abc", b"") == "ended with status 3"
    gone = Command((str(tmp_path / "gone"),))
    assert gone.send("abc", b"").startswith("cannot be started")


@pytest.mark.skipif(os.name != "posix", reason="process groups are a Unix thing")
def test_one_that_hangs_is_killed_with_what_it_started(tmp_path):
    os.mkfifo(tmp_path / "held")
    # the program that it starts holds the pipe open for writing until it ends
    code = (
        "import subprocess, sys; held = open(sys.argv[1], 'w'); "
        "subprocess.run([sys.executable, '-c', 'import threading; threading.Event().wait()'], "
        "stdin=subprocess.DEVNULL, pass_fds=[held.fileno()])"
    )
    reader = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    command = Command(python(code, str(tmp_path / "held")).words, timeout=0.5)
    assert command.send("abc", b"") == "ran longer than 0.5 s and was killed"
    assert select.select([reader], [], [], 60)[0]
    assert os.read(reader, 1) == b""  # nobody holds the other end
    os.close(reader)


@pytest.mark.parametrize("line", ["", "no-such-program-here --x", "/etc/passwd"])
def test_a_program_that_cannot_be_run_is_refused(line):
    with pytest.raises(InputError, match="names no program"):
        Command.of(line)


def test_a_quote_that_does_not_end_is_refused():
    with pytest.raises(InputError, match="cannot be split into words"):
        Command.of("tell 'me")
