"""A run of `vlad score --engine ray`, opened for reading like any other."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlad.calibration import FUSED, Calibration, load_calibration
from vlad.errors import InputError
from vlad.results.folder import RunFolder
from vlad.results.partitions.bucket import Bucket
from vlad.results.partitions.columns import read_rows, schema
from vlad.results.partitions.files import place
from vlad.results.partitions.folder import CALIBRATION, Folder, mark_of
from vlad.results.rows import Row, State
from vlad.types import Sample

_WORDS = ("_verdict", "_abstain")
_DAY = re.compile(r"(?:(.+)[/\\])?scores[/\\](date=[^/\\]+)[/\\]?")


def open_run(out: str | Path) -> RunFolder:
    """Open a run for reading, whichever engine wrote it.

    Args:
        out: its folder; of Ray also a URL, or `scores/date=...` in it for the rows of that day.

    Raises:
        InputError: there is none, or it cannot be used.
        OutputError: it cannot be read back.
    """
    day = _DAY.fullmatch(str(out))
    where = place((day[1] or ".") if day else str(out))
    settings = where.run.settings(where.at)
    if not (settings and settings.get("params")):
        return RunFolder.open(out)
    return PartitionedRun(str(out), where, settings, f"scores/{day[2]}/" if day else "")


class PartitionedRun(RunFolder):
    """Rows from all partitions, without maps and without how images look.

    Args:
        name: as the user gave it.
        settings: what run.json holds.
        below: what names of the partitions to read begin with.

    Attributes:
        table: the columns of the partitions, in the order of `rows`.

    Raises:
        InputError: a command writes there or was stopped, a partition of something else, or too
            many rows.
        OutputError: a partition cannot be read back.
    """

    def __init__(self, name: str, where: Folder | Bucket, settings: dict[str, Any], below: str):
        ranges = dict.fromkeys(settings["params"], (0.0, 1.0))  # there are no maps
        super().__init__(where.at if isinstance(where, Folder) else name, ranges, {}, "none")
        self.name, self.where = name, where
        self.settings = dict(settings)
        if self.calibration():
            self.settings.pop("calibration", None)  # whose thresholds say more than its digest
        self._finished()
        names = [part for part in where.parts() if part.startswith(below)]
        columns = schema(self.heads, self.known)
        try:
            self.table = read_rows(where, names, list(self.heads), columns, mark_of(settings))
        finally:
            self._finished()  # a command that began meanwhile takes rows out
        self.rows.update((row.path, row) for row in self._rows())

    def __str__(self) -> str:
        return self.name

    def samples(self) -> list[Sample]:
        """The images, without ids; paths are text, since a URL would not survive pathlib."""
        return [Sample(path, "") for path in self.rows]  # type: ignore[arg-type]

    def columns(self) -> dict[str, list[Any]]:
        """Scores and verdicts, in the order of `rows`."""
        names = {*self.heads, FUSED}
        kept = [x for x in self.table.column_names if x in names or x.endswith(_WORDS)]
        return self.table.select(kept).to_pydict()

    def calibration(self) -> Calibration | None:
        """The one that verdicts were found with; None where an earlier vlad kept none."""
        where = self.where
        if isinstance(where, Folder):
            file = where.at / CALIBRATION
            return load_calibration(file) if file.exists() else None
        if CALIBRATION not in where.listed(CALIBRATION):
            return None
        with tempfile.TemporaryDirectory() as folder, where.open(CALIBRATION) as opened:
            file = Path(folder) / CALIBRATION
            file.write_bytes(opened.read())
            return load_calibration(file)

    def _finished(self) -> None:
        if self.where.unfinished():
            raise InputError(f"{self.name} is not finished; let the run end, or `resume` it.")

    def _rows(self) -> Iterator[Row]:
        for batch in self.table.to_batches(max_chunksize=10_000):
            for row in batch.to_pylist():
                scores = {head: row[head] for head in self.heads if row[head] is not None}
                size, modified = row.get("size"), row.get("modified")
                state = None if None in (size, modified) else State(size, modified, 0)
                kinds = {h: row.get(f"{h}_kind") or "" for h in self.known} if scores else {}
                yield Row(row["path"], scores, row["error"], state, kinds)
