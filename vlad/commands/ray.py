"""What `vlad score --engine ray` does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import click

from vlad.commands.options import say_if_trial
from vlad.commands.options.scoring import Scoring, plan_of


def score_on_ray(
    paths: Sequence[str],
    scoring: Scoring,
    out: str,
    workers: int | None,
    *,
    resume: bool,
    overwrite: bool,
) -> int:
    """Score into Parquet files; return the number of images that failed.

    Join Ray at RAY_ADDRESS if that is set, else start it on this machine.

    Raises:
        InputError: an option that has no effect here, or Ray is not installed or does not start.
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
    return failed


def any_anomalous(out: str) -> bool:
    """Whether a head calls any image of a run anomalous."""
    import pyarrow.compute as pc

    from vlad.results.partitions.files import place, read

    where = place(out)
    for table in read(where, where.parts(), lambda name: name.endswith("_verdict")):
        names = [name for name in ("fused_verdict",) if name in table.column_names]
        for name in names or table.column_names:
            if pc.any(pc.equal(table[name], "anomalous")).as_py():
                return True
    return False


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
