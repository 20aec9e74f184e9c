"""Keeps the scores of transductive heads in a run to one comparison.

Their scores depend on all images compared, so a run must never mix those of two comparisons.
joint.sha256 in the folder of a run marks a finished one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from vlad.results.folder import RunFolder
from vlad.results.rows import State
from vlad.system.files import atomic_write, cannot_write
from vlad.system.text import encode
from vlad.types import Sample


class Comparison:
    """The comparison of a run's images by its transductive heads.

    Args:
        folder: of the run, created or resumed.
        samples: the images of the command.
        heads: those that compare them.
    """

    def __init__(self, folder: RunFolder, samples: Sequence[Sample], heads: Sequence[str]):
        self.folder = folder
        self.samples = samples
        self.heads = heads
        self.mark = folder.out / "joint.sha256"

    def stands(self) -> bool:
        """Whether a finished comparison of exactly these images is there, with all its maps."""
        try:
            if self.mark.read_text() != self._digest():
                return False
        except (OSError, ValueError):
            return False
        rows = self.folder.rows
        failed = {path for path in rows if not rows.scored(path)}
        good = (sample for sample in self.samples if str(sample.path) not in failed)
        return all(self.folder.has(sample, self.heads) for sample in good)

    def begin(self) -> None:
        """Mark the scores as being replaced.

        Raises:
            OutputError: the mark of the last comparison cannot be removed.
        """
        try:
            self.mark.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self.mark, error) from error

    def end(self) -> None:
        """Mark the scores as complete; images of earlier commands lose theirs, and their rows if
        these hold nothing else.

        Raises:
            OutputError: a file cannot be written.
        """
        own = {str(sample.path) for sample in self.samples}
        others = [row for path, row in self.folder.rows.items() if path not in own]
        kept = [{h: v for h, v in row.scores.items() if h not in self.heads} for row in others]
        self.folder.append([replace(r, scores=s) for r, s in zip(others, kept, strict=True)])
        for row, scores in zip(others, kept, strict=True):
            if not scores and row.error is None:
                del self.folder.rows[row.path]  # and from scores.csv when the run is finished
        atomic_write(self.mark, self._digest().encode())

    def _digest(self) -> str:
        """Hash of the images and the states of their files."""
        lines = []
        for path in sorted(str(sample.path) for sample in self.samples):
            row, state = self.folder.rows.get(path), ""
            # a failed one counts as it is now, to be tried again
            known = row and (State.of(path) if row.error is not None else row.state)
            if known:
                state = f"{known.size} {known.modified}"
            lines.append(f"{path}\0{state}\n")
        return hashlib.sha256(encode("".join(lines))).hexdigest()
