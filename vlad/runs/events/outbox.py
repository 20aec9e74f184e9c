"""Events on disk until they are delivered, so that none is lost whatever stops the run."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from vlad.errors import OutputError
from vlad.runs.events.event import Event
from vlad.system.files import cannot_write


class Outbox:
    """The events of one channel, delivered in order: NAME.jsonl, one event a line, and NAME.done,
    the id of each delivered one. Both only grow.

    Args:
        folder: where the two files are; it is made if need be.
        name: of the channel.

    Attributes:
        waiting: number of events that are not delivered yet.
    """

    def __init__(self, folder: Path, name: str):
        self.file, self.marks = folder / f"{name}.jsonl", folder / f"{name}.done"
        self.waiting = 0
        self._ids: set[str] = set()
        self._next = 0  # bytes before the first event that waits
        self._lock = threading.Lock()  # one thread adds, another delivers

    def open(self) -> Outbox:
        """Find what an earlier process left.

        Raises:
            OutputError: a file cannot be written, or holds something else.
        """
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            for path in (self.file, self.marks):
                _drop_torn_line(path)
            done = set(self.marks.read_text(encoding="ascii").split())
            with open(self.file, "rb") as lines:
                for line in lines:
                    event = json.loads(line)["id"]
                    self._ids.add(event)
                    if self.waiting or event not in done:
                        self.waiting += 1
                    else:
                        self._next += len(line)
        except OSError as error:
            raise cannot_write(self.file, error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise OutputError(
                f"{self.file} cannot be read back ({error}); remove it with {self.marks.name}, "
                "or choose another folder."
            ) from error
        return self

    def add(self, events: Iterable[Event]) -> None:
        """Put events on disk at once; one whose id is there already is left out.

        Raises:
            OutputError: the file cannot be written.
        """
        new = {str(event["id"]): event for event in events if event["id"] not in self._ids}
        if not new:
            return
        _append(self.file, "".join(json.dumps(event) + "\n" for event in new.values()))
        self._ids |= new.keys()
        with self._lock:
            self.waiting += len(new)

    def first(self) -> tuple[str, bytes]:
        """(id, JSON) of the event that has waited longest; there must be one.

        Raises:
            OSError, ValueError: it cannot be read back.
        """
        with open(self.file, "rb") as file:
            file.seek(self._next)
            line = file.readline()
        return json.loads(line)["id"], line.rstrip(b"\n")

    def done(self, event: str, size: int) -> None:
        """Mark the first event as delivered.

        Args:
            size: bytes of its JSON.

        Raises:
            OutputError: the mark cannot be written, so another process will deliver it again.
        """
        self._next += size + 1
        with self._lock:
            self.waiting -= 1
        _append(self.marks, f"{event}\n")


def _append(path: Path, text: str) -> None:
    try:
        with open(path, "ab") as file:
            file.write(text.encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(path, error) from error


def _drop_torn_line(path: Path) -> None:
    """Cut off a last line that was being written when the process ended; make a missing file."""
    with open(path, "a+b") as file:
        file.seek(0)
        whole = sum(len(line) for line in file if line.endswith(b"\n"))
        file.truncate(whole)
