"""What `vlad score --engine ray` does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from vlad.commands.options import say_if_trial
from vlad.commands.options.scoring import Scoring, plan_of

if TYPE_CHECKING:
    import pyarrow as pa


def score_on_ray(
    paths: Sequence[str],
    scoring: Scoring,
    out: str,
    workers: int | None,
    *,
    resume: bool,
    overwrite: bool,
) -> pa.Table:
    """Score into Parquet files; return the images, as `list_images` does.

    Join Ray at RAY_ADDRESS if that is set, else start it on this machine.

    Raises:
        InputError: an option that has no effect here, or Ray is not installed or does not start.
        OutputError: `out` cannot be written to.
        VladError: as `vlad.runs.ray.engine.score`.
    """
    from vlad.errors import InputError, VladError
    from vlad.system.text import counted, shown

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no usage reports
    os.environ.setdefault("RAY_worker_niceness", "0")  # workers are not background work
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(
            f"--engine ray needs Ray ({error}); install it with `pip install 'vlad-vision[ray]'`."
        ) from error
    from vlad.results.partitions.files import place
    from vlad.runs.ray.engine import score
    from vlad.runs.ray.paths import list_images
    from vlad.runs.ray.worker import Job

    if scoring.map_format in ("png", "npy"):
        raise InputError(
            "--engine ray writes only scores, without maps or a report; leave --maps out."
        )
    where = place(out)
    where.run.check(where.at, resume=resume, overwrite=overwrite)  # before anything is listed
    images = list_images(paths, out)
    categorised = images["category"].null_count < len(images)
    plan = plan_of(replace(scoring, map_format="none"), 0, categorised)
    rules = plan.settings.rules
    if rules and rules.calibration is None:
        raise InputError(
            "--engine ray cannot set a threshold; give a number, or a --calibration that "
            "`vlad calibrate` made from a smaller run."
        )
    backbone = plan.open_backbone()
    if not ray.is_initialized():
        _start(workers)
    kind = "GPU" if backbone.device.type == "cuda" else "CPU"
    workers = workers or max(1, int(ray.cluster_resources().get(kind, 1)))
    job = Job(plan.heads, plan.settings, where)
    try:
        rows, failed, drift = score(
            backbone, job, images, workers=workers, resume=resume, overwrite=overwrite
        )
    except KeyboardInterrupt:
        click.echo(
            f"Stopped. Finished partitions are kept in {out}; add --resume to continue.", err=True
        )
        raise SystemExit(130) from None
    except ray.exceptions.RayError as error:
        if isinstance(error, ray.exceptions.RayTaskError):
            raise  # a bug, not the user's error
        raise VladError(
            f"Ray failed ({shown(error)}); add --resume to continue from the finished partitions."
        ) from error
    done = f"{counted(rows - failed, 'image')} scored"
    if failed:
        done += f", {failed} failed (see the column error)"
    click.echo(f"{done}: {out}")
    if drift:
        click.echo(drift.sentence)
    say_if_trial(backbone)
    return images


def status(out: str, images: pa.Table) -> tuple[int, bool]:
    """How many of these images have no score, and whether a head calls any of them anomalous.

    Args:
        images: of `score_on_ray`; other rows of the run do not count.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from vlad.results.partitions.files import place, read

    where = place(out)
    wanted = lambda name: name in ("path", "error") or name.endswith("_verdict")  # noqa: E731
    rows = pa.concat_tables(read(where, where.parts(), wanted), promote_options="permissive")
    paths = rows["path"].cast(pa.large_string())
    rows = rows.filter(pc.is_in(paths, value_set=images["path"].combine_chunks()))
    names = [name for name in ("fused_verdict",) if name in rows.column_names]
    names = names or [name for name in rows.column_names if name.endswith("_verdict")]
    found = any(pc.any(pc.equal(rows[name], "anomalous")).as_py() for name in names)
    return len(rows) - rows["error"].null_count, found


def _start(workers: int | None) -> None:
    import logging

    import ray
    from ray.data import DataContext

    from vlad.errors import InputError
    from vlad.system.text import shown

    local = "RAY_ADDRESS" not in os.environ
    try:
        ray.init(
            address="local" if local else None,
            num_cpus=max(workers, os.cpu_count() or 1) if local and workers else None,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except Exception as error:  # Ray raises plain ones
        raise InputError(
            f"Ray cannot be started or joined ({shown(error)}); check RAY_ADDRESS and the load of "
            "this machine, and try again."
        ) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    DataContext.get_current().enable_progress_bars = False
