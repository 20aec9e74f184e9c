"""A command of the user's that is run for each event."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from dataclasses import dataclass
from typing import ClassVar

from vlad.errors import InputError


@dataclass(frozen=True)
class Command:
    """Runs a program without a shell, with the JSON of the event as a line on its input.

    Its standard output is dropped; what it writes to standard error is seen.

    Args:
        words: the program and its arguments.
        timeout: seconds after which it is killed.
    """

    words: tuple[str, ...]
    timeout: float = 30.0
    name: ClassVar[str] = "command"
    retries: ClassVar[bool] = False

    @classmethod
    def of(cls, line: str) -> Command:
        """That of a line as a shell splits it; quotes count, all else is taken as it is.

        Raises:
            InputError: a quote that does not end, or a program that is not found.
        """
        try:
            words = tuple(shlex.split(line))
        except ValueError as error:
            raise InputError(
                f"`on_anomaly` {line} cannot be split into words ({error}); check its quotes."
            ) from error
        if not words or not shutil.which(words[0]):
            raise InputError(
                f"`on_anomaly` {line} names no program that can be run; give its path, and make "
                "it executable."
            )
        return cls(words)

    @property
    def title(self) -> str:
        return f"Command {os.path.basename(self.words[0])}"

    def send(self, event: str, body: bytes) -> str | None:
        """Run it once; return why it failed, or None."""
        try:
            # a session of its own: Ctrl-C lets it finish, and what it started is killed with it
            process = subprocess.Popen(
                self.words,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            return f"cannot be started ({error.strerror or error})"
        try:
            process.communicate(body + b"\n", self.timeout)
        except subprocess.TimeoutExpired:
            _kill(process)
            return f"ran longer than {self.timeout:g} s and was killed"
        return f"ended with status {process.returncode}" if process.returncode else None


def _kill(process: subprocess.Popen) -> None:
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
