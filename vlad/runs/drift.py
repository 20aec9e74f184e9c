"""Drift over the images of a run that goes on, as `vlad watch` says it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vlad.calibration import Calibration
from vlad.calibration.drift import WINDOW, DriftMonitor, why_not
from vlad.results.drift import FILE, write_drift
from vlad.results.folder import RunFolder
from vlad.results.seen import read_seen
from vlad.scoring.pipeline import Scored


class DriftWatch:
    """Says what moved when that changes, and keeps drift.json of a run up to date.

    It goes on where an earlier command on the same folder stopped.

    Args:
        calibration: of the run, or None; one that cannot tell drift is said to be so, once.
        say: called with a sentence.

    Raises:
        InputError: the calibration knows embeddings of another kind.
        OutputError: drift.json cannot be written.
    """

    def __init__(
        self, folder: RunFolder, calibration: Calibration | None, say: Callable[[str], None]
    ):
        self.folder, self.say = folder, say
        self.monitor: DriftMonitor | None = None
        folder.drop(FILE)
        if calibration is None:
            return
        if reason := why_not(calibration):
            say(reason)
            return
        self.monitor = DriftMonitor(calibration)
        last = [path for path in folder.rows if folder.rows.scored(path)][-WINDOW:]
        for path, seen in read_seen(folder, set(last)).items():
            self.monitor.add(folder.rows[path].scores, seen)
        write_drift(folder, self.monitor.state)
        if self.monitor.state.moved:
            say(self.monitor.state.sentence)

    def add(self, batch: Iterable[Scored]) -> None:
        """Add scored images, in order."""
        if self.monitor is None:
            return
        for scored in batch:
            before = self.monitor.state
            changed = scored.seen and self.monitor.add(scored.scores, scored.seen)
            if self.monitor.state is not before:
                write_drift(self.folder, self.monitor.state)
            if changed:
                self.say(self.monitor.state.sentence)
