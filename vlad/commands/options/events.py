"""Options that decide what an event in time is, and the rules they stand for."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING

import click

from vlad.commands.options.option import option
from vlad.errors import InputError

if TYPE_CHECKING:
    from vlad.calibration import Calibration
    from vlad.commands.options.scoring import Plan
    from vlad.results.eventrules import EventRules
    from vlad.time import Smoothing


@dataclass(frozen=True)
class Deciding:
    """The values of the options of `event_options`."""

    thresholds: str | None = None
    begin_above: float | None = None
    end_below: float | None = None
    smooth: str | None = None
    gap: float | None = None

    @property
    def wanted(self) -> bool:
        """Whether thresholds are given."""
        return self.thresholds is not None or self.begin_above is not None


def event_options(command: Callable) -> Callable:
    """Add the options for events in time; the command gets them as `deciding`."""

    @option("--thresholds FILE", "Use thresholds.json of an earlier run with --normal-footage.")
    @option("--begin-above NUMBER", "An event begins above this smoothed score.", type=float)
    @option(
        "--end-below NUMBER",
        "An event ends at or below this smoothed score.  [default: that of --begin-above]",
        type=float,
    )
    @option(
        "--smooth none|ewma=SECONDS|gaussian=SECONDS",
        "Smooth scores over time: ewma uses earlier frames only, gaussian earlier and later "
        "ones.  [default: gaussian=1; in watch ewma=1]",
    )
    @option(
        "--gap SECONDS",
        "Time without a frame that ends an event.  [default: 10 usual steps, at least 1 s]",
        type=click.FloatRange(min=0, min_open=True),
    )
    @wraps(command)
    def packed(**options):
        deciding = Deciding(**{field.name: options.pop(field.name) for field in fields(Deciding)})
        return command(deciding=deciding, **options)

    return packed


def check_deciding(deciding: Deciding, map_threshold: float | None = None) -> None:
    """Check that the options fit each other.

    Raises:
        InputError: options that exclude or need each other.
    """
    if deciding.end_below is not None and deciding.begin_above is None:
        raise InputError("--end-below is for --begin-above; add it, or leave --end-below out.")
    given = (deciding.smooth, deciding.gap, map_threshold)
    if deciding.thresholds and any(value is not None for value in given):
        raise InputError(
            "--thresholds brings its smoothing, gap and map threshold; leave out --smooth, --gap "
            "and --map-threshold."
        )


def rules_of(
    deciding: Deciding,
    plan: Plan,
    smoothing: Smoothing,
    map_threshold: float | None = None,
    columns: Collection[str] | None = None,
) -> EventRules | None:
    """What is known of thresholds before anything is scored.

    Args:
        plan: the heads of the run, or the detector that brings a threshold.
        smoothing: where the thresholds bring none.
        columns: of scores that have events; None is those of the heads.

    Raises:
        InputError: thresholds of other heads, numbers for several heads, or numbers that
            contradict each other.
    """
    from vlad.results.eventrules import EventRules, load_rules

    if deciding.thresholds:
        rules = load_rules(deciding.thresholds)
        if set(rules.begin) != set(columns or plan.heads):
            raise InputError(
                f"{deciding.thresholds} is for {', '.join(rules.begin)}, but the scores are "
                f"{', '.join(columns or plan.heads)}; name the same heads with --head, or find "
                "other thresholds."
            )
        return rules
    begin, end = deciding.begin_above, deciding.end_below
    own = getattr(plan.detector, "calibration_", None)
    if begin is None and own is not None:
        return _of_detector(own, map_threshold, smoothing, deciding.gap)
    if begin is None:
        if map_threshold is not None:
            raise InputError("--map-threshold is for --begin-above; add it, or leave it out.")
        return None
    if len(plan.heads) > 1:
        raise InputError(
            f"--begin-above is for one head, but there are {len(plan.heads)}; name one with --head."
        )
    (head,) = plan.heads
    release = begin if end is None else end
    if release > begin:
        raise InputError(
            f"--end-below {release:g} is above --begin-above {begin:g}; give one that is lower."
        )
    regions = {} if map_threshold is None else {head: map_threshold}
    if own is not None and not regions:
        regions = dict(own.map_thresholds)
    return EventRules({head: begin}, {head: release}, regions, smoothing, deciding.gap)


def _of_detector(
    calibration: Calibration, map_threshold: float | None, smoothing: Smoothing, gap: float | None
) -> EventRules:
    """The threshold of a saved detector, as that of events."""
    from vlad.results.eventrules import EventRules

    (head,) = calibration.reference
    begin = {head: calibration.thresholds[head]}
    regions = dict(calibration.map_thresholds) if map_threshold is None else {head: map_threshold}
    note = (
        "The threshold is that of the detector, set on single images: it promises no rate of "
        "false alarms per hour. For that, give --normal-footage."
    )
    settings = calibration.settings
    return EventRules(begin, begin, regions, smoothing, gap, settings=settings, note=note)
