"""A worker of Ray: it scores whole partitions, one after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import ray

from vlad.errors import VladError
from vlad.heads import Head
from vlad.results.partitions.bucket import Bucket
from vlad.results.partitions.files import STATE
from vlad.results.partitions.folder import MARK, Folder
from vlad.results.verdicts import decide
from vlad.runs.ray.stored import StoredReader
from vlad.runs.settings import Settings
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import score_samples
from vlad.system.text import counted
from vlad.types import Sample

TRIES = 4  # at a partition whose workers die; Ray Data would go on for ever


@dataclass(frozen=True)
class Job:
    """All that a worker needs, sent to each once; each loads the backbone by its name."""

    heads: Mapping[str, Head]
    settings: Settings
    out: Folder | Bucket
    mark: bytes = b""  # of the run, as `mark_of` finds it

    def panel(self) -> Panel:
        backbone = self.settings.setup.load_backbone()
        for head in self.heads.values():
            head.to(backbone.device)
        return self.settings.setup.panel(backbone, self.heads)

    def reader(self, listed: Mapping[str, tuple] | None = None) -> StoredReader:
        setup = self.settings.setup
        return StoredReader(setup.max_pixels, setup.bits, listed or {})


class Scorer:
    """One worker: images in, a partition out, and its name and counts or why there is none.

    Args:
        folder: of `writing`.
        date: of all partitions of the command, so that one scored again replaces itself.
    """

    def __init__(self, job: list[ray.ObjectRef], folder: str, date: str):
        self.job = ray.get(job[0])  # in a list, so that one copy serves all workers of a machine
        self.folder, self.date = folder, date

    def __call__(self, images: pa.Table) -> pa.Table:
        name, rows, failed = "", 0, 0
        error = None
        try:
            name, rows, failed = self._write(images)
        except (
            VladError
        ) as stopped:  # as a value: raised, it would arrive wrapped in many lines of Ray's
            error = str(stopped)
        counts = {"part": [name], "rows": [rows], "failed": [failed]}
        counts["error"] = pa.array([error], pa.string())
        return pa.table(counts)

    @cached_property
    def panel(self) -> Panel:
        return self.job.panel()

    def _write(self, images: pa.Table) -> tuple[str, int, int]:
        job, settings = self.job, self.job.settings
        rows = images.to_pylist()
        # named by its images, so that a partition that is scored again replaces itself
        digest = hashlib.sha256("\0".join(row["path"] for row in rows).encode()).hexdigest()
        part = f"scores/date={self.date}/part-{digest[:32]}.parquet"
        if job.out.tried(self.folder, part) > TRIES:
            raise VladError(
                f"{TRIES} workers died over the same {counted(len(rows), 'image')}, from "
                f"{rows[0]['path']} to {rows[-1]['path']}; leave out the one that crashes its "
                "decoder, or give fewer `workers` or a smaller `batch_size` if memory ran out."
            )
        # as text, since a URL would not survive pathlib
        samples = [Sample(row["path"], "", row["category"]) for row in rows]
        listed = {row["path"]: tuple(row[name] for name in STATE) for row in rows}
        reader = job.reader(listed)
        scored = [
            one
            for batch in score_samples(
                self.panel,
                samples,
                batch_size=settings.setup.batch_size,
                open_image=reader,
            )
            for one in batch
        ]
        columns = {"path": pa.array([s.sample.path for s in scored], pa.string())}
        for head in job.heads:
            columns[head] = pa.array([s.scores.get(head) for s in scored], pa.float64())
        for head, made in job.heads.items():
            if made.known:
                columns[f"{head}_kind"] = pa.array([s.kinds.get(head) for s in scored], pa.string())
        if settings.rules:
            columns |= _verdicts(scored, settings.rules.calibration)
        states = [reader.states.get(str(s.sample.path)) for s in scored]
        for name in STATE:
            values = [state and getattr(state, name) for state in states]
            columns[name] = pa.array(values, pa.int64())
        columns["error"] = pa.array([s.error for s in scored], pa.string())
        table = pa.table(columns).replace_schema_metadata({MARK: job.mark})
        job.out.write(self.folder, part, table)
        return part, len(rows), sum(s.error is not None for s in scored)


def _verdicts(scored: Sequence, calibration) -> dict[str, pa.Array]:
    good = [s for s in scored if s.error is None]
    scores = {h: np.array([s.scores[h] for s in good]) for h in calibration.reference}
    found = decide(calibration, [s.sample.path for s in good], scores)
    types = {"verdict": pa.string(), "abstain": pa.bool_(), "severity": pa.int64()}
    return {
        name: pa.array(
            [values.get(s.sample.path) for s in scored],
            types.get(name.rpartition("_")[2], pa.float64()),
        )
        for name, values in found.items()
    }
