"""One run at a time in a folder."""

import errno
import signal
import subprocess
import sys

import pytest

from vlad.errors import OutputError
from vlad.system.lock import locked

HOLDER = """
import sys, time
from vlad.system.lock import locked

with locked(sys.argv[1]):
    print(1, flush=True)
    time.sleep(600)
"""


def test_a_second_holder_is_refused_until_the_first_is_done(tmp_path):
    with (
        locked(tmp_path / "run"),
        pytest.raises(OutputError, match=r"another run is writing to .*run"),
        locked(tmp_path / "run"),
    ):
        pass
    with locked(tmp_path / "run"), locked(tmp_path / "other"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a Unix thing")
def test_a_killed_holder_lets_go(tmp_path, run_env):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    holder = subprocess.Popen(command, env=run_env, stdout=subprocess.PIPE)
    holder.stdout.readline()
    with pytest.raises(OutputError), locked(tmp_path):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with locked(tmp_path):
        pass


def test_a_place_that_cannot_be_written_to_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"), locked(tmp_path / "file" / "run"):
        pass


def test_a_folder_that_may_not_be_written_to_is_one_clear_error(tmp_path):
    (tmp_path / ".lock").mkdir()  # what root may not open either
    with pytest.raises(OutputError, match="cannot write"), locked(tmp_path):
        pass


def test_the_empty_lock_file_is_all_that_stays(tmp_path):
    for _ in range(2):
        with locked(tmp_path):
            pass
        assert [(file.name, file.stat().st_size) for file in tmp_path.iterdir()] == [(".lock", 0)]


@pytest.mark.skipif(sys.platform == "win32", reason="flock is a Unix thing")
def test_a_share_without_locks_is_written_to_nevertheless(tmp_path, monkeypatch):
    import fcntl

    for code in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):

        def refuse(*_, code=code):
            raise OSError(code, "no locks here")

        monkeypatch.setattr(fcntl, "flock", refuse)
        with locked(tmp_path / "run"), locked(tmp_path / "run"):
            pass
