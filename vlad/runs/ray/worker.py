"""A worker of Ray: it scores whole partitions, one after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray
from PIL import Image

from vlad.errors import VladError
from vlad.heads import Head
from vlad.results.verdicts import decide
from vlad.runs.ray.parts import STATE, write_part
from vlad.runs.ray.paths import open_stored
from vlad.runs.run import Reader
from vlad.runs.settings import Settings
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import score_samples
from vlad.types import Sample


@dataclass(frozen=True)
class Job:
    """All that a worker needs, sent to each once; each loads the backbone by its name."""

    heads: Mapping[str, Head]
    settings: Settings
    out: Path

    def panel(self) -> Panel:
        backbone = self.settings.setup.load_backbone()
        for head in self.heads.values():
            head.to(backbone.device)
        return self.settings.setup.panel(backbone, self.heads)

    def open_image(self, path: str | Path) -> Image.Image:
        setup = self.settings.setup
        return open_stored(path, max_pixels=setup.max_pixels, bits=setup.bits)


class Scorer:
    """One worker: images in, a partition on disk out, and its counts or why there is none."""

    def __init__(self, job: list[ray.ObjectRef], folder: Path):
        self.job = ray.get(job[0])  # in a list, so that one copy serves all workers of a machine
        self.folder = folder

    def __call__(self, images: pa.Table) -> pa.Table:
        rows = failed = 0
        error = None
        try:
            rows, failed = self._write(images)
        except (
            VladError
        ) as stopped:  # as a value: raised, it would arrive wrapped in many lines of Ray's
            error = str(stopped)
        counts = {"rows": [rows], "failed": [failed], "error": pa.array([error], pa.string())}
        return pa.table(counts)

    @cached_property
    def panel(self) -> Panel:
        return self.job.panel()

    def _write(self, images: pa.Table) -> tuple[int, int]:
        job, settings = self.job, self.job.settings
        rows = images.to_pylist()
        # as text, since a URL would not survive pathlib
        samples = [Sample(row["path"], "", row["category"]) for row in rows]
        reader = Reader(job.open_image)
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
        # named by its images, so that a partition that is scored again replaces itself
        digest = hashlib.sha256("\0".join(row["path"] for row in rows).encode()).hexdigest()
        write_part(self.folder, f"part-{digest[:32]}.parquet", pa.table(columns))
        return len(rows), sum(s.error is not None for s in scored)


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
