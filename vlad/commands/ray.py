"""What `vlad score --engine ray` does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from vlad.commands.options import open_backbone
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
    """Scores into Parquet files -> the number of images that failed.

    Ray is joined where RAY_ADDRESS says, and else started on this machine.

    Raises:
        InputError: an option that has no meaning here, or Ray is not there or does not start.
        VladError: as `vlad.runs.ray.engine.score`.
    """
    from vlad.errors import InputError, VladError
    from vlad.system.text import counted, shown

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    os.environ.setdefault("RAY_worker_niceness", "0")  # workers are no background of this command
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(
            f"--engine ray needs Ray ({error}); install it with `pip install 'vlad-vision[ray]'`."
        ) from error
    from vlad.runs.ray.engine import score
    from vlad.runs.ray.paths import list_images
    from vlad.runs.ray.worker import Job

    if scoring.map_format in ("png", "npy"):
        raise InputError(
            "--engine ray writes scores alone, no maps and no report; leave --maps out."
        )
    plan = plan_of(replace(scoring, map_format="none"), images=0)
    rules = plan.settings.rules
    if rules and rules.calibration is None:
        raise InputError(
            "--engine ray finds no threshold; give a number, or a --calibration that "
            "`vlad calibrate` made from a smaller run."
        )
    images = list_images(paths)
    backbone = open_backbone(scoring.common)
    if not ray.is_initialized():
        _start(workers)
    kind = "GPU" if backbone.device.type == "cuda" else "CPU"
    workers = workers or max(1, int(ray.cluster_resources().get(kind, 1)))
    job = Job(plan.heads, plan.settings, Path(out).absolute())
    try:
        rows, failed = score(
            backbone, job, images, workers=workers, resume=resume, overwrite=overwrite
        )
    except KeyboardInterrupt:
        click.echo(f"Stopped. Whole partitions are kept in {out}; add --resume to continue.", err=1)
        raise SystemExit(130) from None
    except ray.exceptions.RayError as error:
        if isinstance(error, ray.exceptions.RayTaskError):
            raise  # a fault of the program
        raise VladError(
            f"Ray cannot go on ({shown(error)}); add --resume to continue from the partitions that "
            "are there."
        ) from error
    done = f"{counted(rows - failed, 'image')} scored"
    if failed:
        done += f", {failed} failed (see the column error)"
    click.echo(f"{done}: {out}")
    return failed


def _start(workers: int | None) -> None:
    import logging

    import ray
    from ray.data import DataContext

    from vlad.errors import InputError
    from vlad.system.text import shown

    local = {} if "RAY_ADDRESS" in os.environ else {"address": "local"}
    if local and workers:
        local["num_cpus"] = max(workers, os.cpu_count() or 1)
    try:
        ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False, **local)
    except Exception as error:  # Ray raises bare ones
        raise InputError(
            f"Ray cannot be started or joined ({shown(error)}); check RAY_ADDRESS and the load of "
            "this machine, and try again."
        ) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    DataContext.get_current().enable_progress_bars = False
