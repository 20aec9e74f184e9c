"""What a scoring run leaves on disk: its settings, scores and anomaly maps.

    run.json            what the run was made with, written first
    .lock               held while a command writes here (see vlad.system.lock)
    scores.csv          one row per image; the journal while the run goes on; scores.parquet after
    files.csv           path, size, time of change and time of reading of each scored file
    seen.jsonl          how each scored image looks (see vlad.results.seen); drift.json
    reasons.jsonl, reasons/         why images are anomalous (see vlad.results.reasons)
    joint.sha256        which images transductive heads compared (see vlad.results.comparison)
    maps/<head>/<id>    anomaly maps, on one fixed scale per head
    calibration.json, calibration/, holdout/, regions/   what verdicts rest on, and good images of
                        another day (see vlad.results.verdicts)
    overlays/<head>/<id>.jpg, report.html
    frames/<source>/<frame>.png     frames of a video that `vlad watch` kept; never deleted
    normal_changes/                 what `vlad video --motion` compares changes with
    events/                         what `vlad watch` told other machines (see vlad.runs.events)

An image's row is appended after its maps are on disk. So every row is finished whatever stops the
run, and a resumed run ends as if it had never stopped.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from vlad.datasets.ids import ids_again
from vlad.errors import InputError, OutputError
from vlad.images.resize import fit_within
from vlad.results.maps import write_map
from vlad.results.rows import Row, Rows, State
from vlad.results.runjson import RUN
from vlad.results.scales import CUT, RANGES, continued
from vlad.results.table import Column, columns, csv_bytes, write_parquet
from vlad.system.files import atomic_write, cannot_write
from vlad.system.text import (
    csv_line,
    csv_path,
    csv_text,
    decode,
    encode,
    end_of_last_record,
    path_of,
)
from vlad.types import Sample

MapFormat = Literal["png", "npy", "none"]
MAP_SIDE = 1024  # pixels; longer side of stored maps, unless images are cut into tiles


class RunFolder:
    """The folder of one run; nothing is written before `create` or `resume`.

    Args:
        map_format: of the anomaly maps; "none" keeps scores alone.
        map_side: pixels to which the longer side of a stored map is bounded; None stores maps at
            the size of their image.

    Attributes:
        out: the folder.
        heads: head -> (low, high), the scale on which its maps are stored.
        settings: what run.json holds.
        rows: path -> Row of every image with a row, failed ones included.
    """

    def __init__(
        self,
        out: str | Path,
        heads: Mapping[str, tuple[float, float]],
        settings: Mapping[str, object],
        map_format: MapFormat = "png",
        map_side: int | None = MAP_SIDE,
    ):
        self.out = Path(out)
        self.heads = dict(heads)
        self.map_format = map_format
        self.map_side = map_side
        self.rows = Rows(heads)
        own = {
            "heads": list(heads),
            "score_direction": "higher is more anomalous",
            RANGES: heads,
            "map_format": map_format,
            "map_side": map_side,
        }
        # through JSON, so that it is what is read back from run.json
        self.settings: dict = json.loads(json.dumps({"kind": RUN.kind, **own, **settings}))

    def __str__(self) -> str:
        return str(self.out)

    def create(self, overwrite: bool = False) -> RunFolder:
        """Start the run: write run.json and an empty scores.csv.

        Args:
            overwrite: whether an existing run is deleted first, and nothing else.

        Raises:
            OutputError: the folder holds a run, or cannot be written to.
        """
        present = RUN.check(self.out, overwrite=overwrite)
        # run.json is replaced last, so that a stop on the way still leaves the folder of a run
        self._delete([name for name in present if name != RUN.file])
        RUN.begin(self.out, self.settings)
        atomic_write(self.scores_csv, self._header())
        return self

    def resume(self) -> RunFolder:
        """Continue the run in the folder, or start it if there is none yet.

        Raises:
            OutputError: the run there was made with other settings, cannot be read back, or the
                folder cannot be written to.
        """
        written = RUN.settings(self.out) or {}
        self.heads = continued(written, self.heads)
        self.settings |= {RANGES: {head: list(pair) for head, pair in self.heads.items()}}
        self.settings |= {CUT: written[CUT]} if CUT in written else {}
        if not RUN.continues(self.out, self.settings):
            return self.create()
        self._read_journal()
        # drops a torn line and verdicts, and checks that the folder can be written to
        atomic_write(self.scores_csv, csv_bytes(self._columns(self.rows.values())))
        atomic_write(self.files_csv, _states(self.rows.values()))
        return self

    @classmethod
    def open(cls, out: str | Path) -> RunFolder:
        """Open the run in a folder for reading.

        Raises:
            InputError: there is none.
            OutputError: it cannot be read back.
        """
        written = RUN.settings(Path(out)) or {}
        try:
            ranges = {head: tuple(written[RANGES][head]) for head in written["heads"]}
            found = cls(out, ranges, {}, written["map_format"], written["map_side"])
        except (TypeError, KeyError) as error:
            raise InputError(
                f"{out} holds no run of vlad; give a folder that `vlad score` wrote."
            ) from error
        found.settings = written
        found._read_journal()
        return found

    def samples(self) -> list[Sample]:
        """The images of an opened run, with the ids that name their maps."""
        ids = ids_again(
            self.rows,
            self.settings["root"],
            lambda path, name: bool(self.maps(Sample(Path(path), name))),
        )
        return [Sample(Path(path), name) for path, name in ids.items()]

    @property
    def known(self) -> Mapping[str, Sequence[str]]:
        """Head -> the kinds of defects that it knows, for those that know some."""
        return self.settings.get("kinds", {})

    @property
    def scores_csv(self) -> Path:
        return self.out / "scores.csv"

    @property
    def files_csv(self) -> Path:
        return self.out / "files.csv"

    def map_path(self, head: str, sample: Sample) -> Path:
        return self.out / "maps" / head / f"{sample.id}.{self.map_format}"

    @property
    def keeps_maps(self) -> bool:
        return self.map_format != "none"

    def has(self, sample: Sample, heads: Iterable[str]) -> bool:
        """Whether an image is scored by these heads, with their maps if any are kept."""
        heads, path = set(heads), str(sample.path)
        # failed images are tried again
        if not self.rows.scored(path) or not heads <= set(self.rows[path].scores):
            return False
        # a stop between its two files leaves a row without a state
        stateless = self.rows[path].state is None and State.of(path) is not None
        if stateless or self.changed(sample):
            return False
        return not self.keeps_maps or heads <= set(self.maps(sample))

    def changed(self, sample: Sample) -> bool:
        """Return whether the file of an image with a row changed since it was scored."""
        row, now = self.rows.get(str(sample.path)), State.of(sample.path)
        return row is not None and now is not None and not now.same(row.state)

    def maps(self, sample: Sample) -> dict[str, Path]:
        """Head -> file of the maps that a scored image has."""
        row = self.rows.get(str(sample.path))
        if row is None or row.error is not None:
            return {}
        paths = {head: self.map_path(head, sample) for head in self.heads}
        return {head: path for head, path in paths.items() if path.exists()}

    def overlay_path(self, head: str, sample: Sample) -> Path:
        return self.out / "overlays" / head / f"{sample.id}.jpg"

    def write_map(
        self, head: str, sample: Sample, anomaly_map: np.ndarray, image_size: tuple[int, int]
    ) -> Path:
        """Store a map at the proportions of its image; call it before `append`.

        Args:
            anomaly_map: (H, W) values of the head, over the whole image.
            image_size: (width, height) of the image, upright.

        Raises:
            OutputError: the file cannot be written.
        """
        return write_map(
            self.map_path(head, sample),
            anomaly_map,
            fit_within(image_size, self.map_side or max(image_size)),
            self.heads[head],
        )

    def append(
        self, rows: Sequence[Row], more: Mapping[str, Mapping[str, object]] | None = None
    ) -> None:
        """Put finished rows on disk at once; a later row of the same path replaces an earlier one.

        Args:
            more: further columns, as in `finish`, which was called with the same ones before.

        Raises:
            OutputError: scores.csv or files.csv cannot be written.
        """
        # states behind scores: `has` has a file scored again after a stop between them
        for path, data in (
            (self.scores_csv, csv_bytes(self._columns(rows, more), header=False)),
            (self.files_csv, _states(rows)),
        ):
            try:
                with open(path, "ab") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise cannot_write(path, error) from error
        self.rows.update((row.path, row) for row in rows)

    def finish(
        self, order: Iterable[str | Path], more: Mapping[str, Mapping[str, object]] | None = None
    ) -> None:
        """Write scores.csv in the order of the paths given, and scores.parquet.

        Rows of other paths, from an earlier command on the same folder, follow at the end.

        Args:
            more: further columns, name -> path -> value.

        Raises:
            OutputError: a file cannot be written.
        """
        rows = Rows(self.heads)
        for path in (*map(str, order), *self.rows):
            if path in self.rows and path not in rows:
                rows[path] = self.rows[path]
        table = self._columns(rows.values(), more)
        atomic_write(self.out / "scores.parquet", lambda file: write_parquet(table, file))
        atomic_write(self.scores_csv, csv_bytes(table))
        atomic_write(self.files_csv, _states(rows.values()))
        self.rows = rows

    def drop(self, *names: str) -> None:
        """Delete what an earlier command left under these names, if anything.

        Raises:
            OutputError: it cannot be deleted.
        """
        self._delete([name for name in names if os.path.lexists(self.out / name)])

    def _header(self) -> bytes:
        return csv_bytes(self._columns([]))

    def _columns(
        self, rows: Collection[Row], more: Mapping[str, Mapping[str, object]] | None = None
    ) -> dict[str, Column]:
        """The columns of these rows: scores, known kinds, and what else there is."""
        kinds = {
            f"{head}_kind": {row.path: row.kinds[head] for row in rows if head in row.kinds}
            for head in self.known
        }
        return columns(rows, self.heads, {**kinds, **(more or {})})

    def _read_journal(self) -> None:
        try:
            data = self.scores_csv.read_bytes() if self.scores_csv.exists() else b""
            end = end_of_last_record(data)
            if len(_records(data[end:], strict=False)) > 1:  # more than a torn line
                raise ValueError("its quotes or line ends are not those that vlad writes")
            header, *records = _records(data[:end] or self._header())
            wanted = ["path", *self.heads]
            # verdict columns stand between the scores and the error
            if header[: len(wanted)] != wanted or header[-1] != "error":
                raise ValueError(f"its columns are {', '.join(header)}")
            states = self._read_states()
            known = {h: {csv_text(k): k for k in ("", *kinds)} for h, kinds in self.known.items()}
            for record in records:
                if len(record) != len(header):
                    raise ValueError(f"a line has {len(record)} cells for {len(header)} columns")
                row = dict(zip(header, record, strict=True))
                scores = {head: float(row[head]) for head in self.heads if row[head]}
                path, error = path_of(row["path"]), row["error"] or None
                if scores or error:
                    kinds = {head: known[head][row[f"{head}_kind"]] for head in known if scores}
                    self.rows[path] = Row(path, scores, error, states.get(path), kinds)
                else:  # withdrawn, as by vlad.results.comparison
                    self.rows.pop(path, None)
        except (OSError, ValueError, KeyError, csv.Error) as error:
            raise OutputError(
                f"{self.scores_csv} cannot be read back ({error}); add `overwrite` to start again, "
                "or choose another folder."
            ) from error

    def _read_states(self) -> dict[str, State]:
        """Those of files.csv; runs of earlier versions have none."""
        data = self.files_csv.read_bytes() if self.files_csv.exists() else b""
        records = _records(data[: end_of_last_record(data)])
        if any(len(record) != 1 + len(State._fields) for record in records):
            raise ValueError(f"{self.files_csv.name} beside it is damaged")
        return {path_of(path): State(*map(int, numbers)) for path, *numbers in records}

    def _delete(self, names: Iterable[str]) -> None:
        for name in names:
            path = self.out / name
            try:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            except OSError as error:
                raise cannot_write(path, error) from error


def _states(rows: Iterable[Row]) -> bytes:
    return encode(
        "".join(csv_line([csv_path(row.path), *map(str, row.state)]) for row in rows if row.state)
    )


def _records(data: bytes, strict: bool = True) -> list[list[str]]:
    """The records of CSV data; spreadsheets put a byte-order mark in front."""
    text = decode(data).removeprefix("\ufeff")
    return list(csv.reader(io.StringIO(text, newline=""), strict=strict))
