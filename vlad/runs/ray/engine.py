"""Scoring with Ray Data: workers that each write whole partitions, exactly one row per path."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from datetime import datetime, timezone

import pyarrow as pa
import ray

from vlad.backbones.backbone import Backbone
from vlad.calibration.drift import Drift
from vlad.calibration.file import calibration_bytes
from vlad.errors import HeadError, VladError
from vlad.heads.memory import Memory
from vlad.results.partitions.drift import write_drift
from vlad.results.partitions.folder import CALIBRATION, KEPT, mark_of
from vlad.results.shared import check_calibration, shared_settings
from vlad.runs.ray.parts import take_out
from vlad.runs.ray.paths import with_category, without
from vlad.runs.ray.worker import Job, Scorer
from vlad.runs.run import warn_of_changed
from vlad.runs.settings import prepare, scores_depend_on
from vlad.scoring.panel import Panel
from vlad.system.progress import Progress
from vlad.system.text import shown
from vlad.types import Sample

PARTITION = 4096  # rows at most: what a crash of a worker may cost


def score(
    backbone: Backbone,
    job: Job,
    images: pa.Table,
    *,
    workers: int,
    resume: bool = False,
    overwrite: bool = False,
) -> tuple[int, int, Drift | None]:
    """Score what has no row yet into `scores/date=*` -> rows, failures and drift of this call.

    Args:
        backbone: of `job`, to fit its heads with.
        images: of `vlad.runs.ray.paths.list_images`.
        workers: processes that score; each takes an equal share of the cores, or a GPU.

    Raises:
        HeadError: a head that judges images jointly.
        VladError: a problem of the run as a whole.
    """
    # a worker has GPUs of its own, by other numbers; or none where this command has none
    setup = replace(job.settings.setup, device=backbone.device.type)
    settings = replace(job.settings, setup=setup)
    job = replace(job, settings=settings)
    images = with_category(images, settings.category)
    named = images["category"].unique().to_pylist()
    categories = sorted(named, key=lambda name: name or "")
    panel = fit(backbone, job, categories, workers)
    if joint := panel.transductive:
        raise HeadError(
            f"Head {joint[0]} judges all images jointly, but each worker sees only some; give "
            "musc a `pool`, april_gan rescale=false, or choose another head."
        )
    record = scores_depend_on(panel, settings, categories)
    calibration = settings.rules and settings.rules.calibration
    if calibration:
        # rows of two thresholds must not stand side by side
        record["calibration"] = hashlib.sha256(repr(calibration).encode()).hexdigest()
        check_calibration(calibration, shared_settings(record))
    job, out = replace(job, mark=mark_of(record)), job.out
    with out.held():
        present = out.run.check(out.at, resume=resume, overwrite=overwrite)
        if not overwrite:
            asked, known = record["prompts"], out.run.settings(out.at) or {}
            same = _of_known(asked, known.get("prompts", {}))  # further categories may come along
            out.run.continues(out.at, record | {"prompts": same})
            record["prompts"] = {head: same[head] | own for head, own in asked.items()}
        with out.writing() as folder:
            for name in [*out.parts(), *{*present} & {*KEPT}] if overwrite else ():
                out.remove(name)
            out.run.begin(out.at, record)
            if calibration:
                out.put(CALIBRATION, calibration_bytes(calibration))
            written, changed = take_out(out, folder, images, job.mark)
            warn_of_changed(changed)
            waiting = without(images, written)
            if len(waiting) and "drift.json" in present and not overwrite:
                out.remove("drift.json")  # of the command before
            for head in job.heads.values():
                head.to("cpu")
            rows = failed = 0
            names: list[str] = []
            gpu = backbone.device.type == "cuda"
            with Progress(len(images), done=len(images) - len(waiting)) as progress:
                for name, count, bad in _run(job, folder, waiting, workers, gpu):
                    out.finish(folder, name)
                    rows, failed = rows + count, failed + bad
                    names.append(name)
                    progress.advance(count, bad)
            # before the run counts as finished
            drift = write_drift(out, names, rows - failed, calibration) if calibration else None
    return rows, failed, drift


def _of_known(asked: Mapping[str, dict], known: Mapping[str, dict]) -> dict[str, dict]:
    """The prompts of the categories that a run knows; those asked for now where both have them."""
    return {
        head: {name: own.get(name, key) for name, key in known.get(head, own).items()}
        for head, own in asked.items()
    }


def _run(
    job: Job, folder: str, waiting: pa.Table, workers: int, gpu: bool
) -> Iterator[tuple[str, int, int]]:
    """Name, rows and failures of each partition, as they are written.

    Raises:
        VladError: a worker cannot go on.
    """
    if not len(waiting):
        return
    try:
        stored = ray.put(job)
    except TypeError as error:  # Ray's own text is a page
        raise HeadError(
            f"Heads {', '.join(job.heads)} cannot be sent to workers ({shown(error.__cause__)}); "
            "keep to attributes that pickle, or choose another `engine`."
        ) from error
    size = min(PARTITION, -(-len(waiting) // (4 * workers)))
    # cores as Ray counts them; those of this machine may be more than any node offers
    cores = [int(n["Resources"].get("CPU", 0)) for n in ray.nodes() if n["Alive"]]
    blocks = [waiting.slice(at, size).combine_chunks() for at in range(0, len(waiting), size)]
    counts = ray.data.from_arrow(blocks).map_batches(
        Scorer,
        fn_constructor_args=([stored], folder, f"{datetime.now(timezone.utc):%Y-%m-%d}"),
        compute=ray.data.ActorPoolStrategy(size=workers),
        batch_size=None,
        batch_format="pyarrow",
        num_gpus=1 if gpu else None,
        num_cpus=None if gpu else max(1, min(max(cores), sum(cores) // workers)),
    )
    for row in counts.iter_rows():
        if row["error"]:
            raise VladError(
                f"A worker stopped ({row['error'].rstrip('.')}); repeat the command with `resume` "
                "once that is fixed."
            )
        yield row["part"], row["rows"], row["failed"]


def fit(backbone: Backbone, job: Job, categories: Sequence[str], workers: int) -> Panel:
    """A panel as `prepare` makes it; all workers make the coresets of more than one image."""
    settings, references = job.settings, job.settings.references
    shared = {
        name: head
        for name, head in job.heads.items()
        if isinstance(head, Memory) and head.coreset and workers > 1 and len(references) > 1
    }
    if not shared:
        return prepare(backbone, job.heads, categories, settings, job.reader())
    others = {name: head for name, head in job.heads.items() if name not in shared}
    if any(head.normals != "unused" for head in others.values()):
        prepare(backbone, others, categories, replace(settings, pool=()), job.reader())
    panel = prepare(backbone, job.heads, categories, replace(settings, references=()), job.reader())
    shards = [references[i::workers] for i in range(min(workers, len(references)))]
    fit_shard = _fit_shard.options(num_gpus=int(backbone.device.type == "cuda"))
    parts = ray.get(
        [fit_shard.remote(replace(job, heads=shared), shard, len(references)) for shard in shards]
    )
    memories = []
    for part in parts:
        if isinstance(part, VladError):
            raise part
        memories.append(part)
    for name, head in shared.items():
        head.fit_union([memory[name] for memory in memories])
        head.to(backbone.device)
    return panel


@ray.remote(num_cpus=1)
def _fit_shard(job: Job, shard: Sequence[Sample], count: int) -> dict[str, Memory] | VladError:
    """Memories of some of `count` references, each of as many rows as the whole one will have."""
    heads: dict[str, Memory] = {}
    for name, head in job.heads.items():
        assert isinstance(head, Memory) and head.coreset  # as `fit` chose them
        heads[name] = copy(head)
        heads[name].coreset = min(1.0, head.coreset * count / len(shard))
    reader = job.reader()
    try:
        replace(job, heads=heads).panel().fit(reader(sample.path) for sample in shard)
    except VladError as error:
        return error
    for head in heads.values():
        head.to("cpu")
    return heads
