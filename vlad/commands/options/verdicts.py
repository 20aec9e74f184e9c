"""Options for verdicts, and the rules they stand for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import wraps
from typing import TYPE_CHECKING, Literal

import click

from vlad.commands.options.option import option
from vlad.errors import InputError

if TYPE_CHECKING:
    from vlad.heads import Head
    from vlad.results.verdicts import Rules
    from vlad.types import Sample

METHODS = ("fisher", "stouffer", "harmonic")


class _Threshold(click.ParamType):
    """A number, or "auto"."""

    name = "auto|NUMBER"

    def convert(self, value, param, ctx) -> float | Literal["auto"]:
        if value == "auto":
            return value
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise InputError(
                f"--threshold {value} is not a number; give one such as 0.02, or auto."
            )
        return number


@dataclass(frozen=True)
class Judging:
    """The values of the options of `judging_options`."""

    threshold: float | Literal["auto"] | None = None
    calibration: str | None = None
    false_alarms: float = 0.05
    suspects: int = 0
    fuse: str | None = None
    confidence: float | None = None
    map_threshold: float | None = None
    min_area: float = 0.0
    mm_per_pixel: float | None = None

    @property
    def wanted(self) -> bool:
        """Whether verdicts are asked for."""
        return self.threshold is not None or bool(self.calibration or self.fuse)

    @property
    def finds_threshold(self) -> bool:
        """Whether the run itself has to set the threshold."""
        return self.wanted and not self.calibration and not isinstance(self.threshold, float)


false_alarms_option = option(
    "--false-alarms RATE",
    "Share of normal images that may be flagged as anomalous.",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.05,
)
suspects_option = option(
    "--suspects N",
    "Leave out the N strangest held-out normal images as suspected defects.",
    type=click.IntRange(min=0),
    default=0,
)
holdout_option = option(
    "--holdout-normal DIR|FILES",
    "Good images of another day, to count false alarms on; they move no threshold; may be "
    "repeated.",
    "holdouts",
    multiple=True,
)
fuse_option = option(
    "--fuse",
    "Also decide from all heads together, by their p-values.  [alone: fisher]",
    type=click.Choice(METHODS),
    flag_value=METHODS[0],
    is_flag=False,
)
confidence_option = option(
    "--confidence CONFIDENCE",
    "Abstain from decisions less certain than this, for example 0.9.",
    type=click.FloatRange(0.5, 1, min_open=True, max_open=True),
)


def judging_options(command: Callable) -> Callable:
    """Add the options for verdicts; the command gets them as `judging`."""

    @option(
        "--threshold auto|NUMBER",
        "Flag images that score above NUMBER as anomalous; auto sets the threshold from "
        "held-out normal images or, without any, estimates it from the scored images.",
        type=_Threshold(),
    )
    @option("--calibration FILE", "Use the thresholds saved by `vlad calibrate`.")
    @false_alarms_option
    @suspects_option
    @fuse_option
    @confidence_option
    @option(
        "--map-threshold NUMBER",
        "Pixels above NUMBER form regions.  [default: set with the threshold]",
        type=float,
    )
    @option(
        "--min-area N",
        "Drop smaller regions; in square pixels, or mm² with --mm-per-pixel.",
        type=click.FloatRange(min=0),
        default=0.0,
        show_default=False,
    )
    @option(
        "--mm-per-pixel MM",
        "Side of one image pixel, in millimetres.",
        type=click.FloatRange(min=0, min_open=True),
    )
    @wraps(command)
    def packed(**options):
        judging = Judging(**{field.name: options.pop(field.name) for field in fields(Judging)})
        return command(judging=judging, **options)

    return packed


def check_judging(judging: Judging, heads: Mapping[str, Head]) -> None:
    """Check that the options fit each other and the heads.

    Raises:
        InputError: options that exclude or need each other.
    """
    numeric = isinstance(judging.threshold, float)
    if not judging.wanted:
        needing = ("confidence", "suspects", "map_threshold", "min_area", "mm_per_pixel")
        if given := [name for name in needing if getattr(judging, name)]:
            option = "--" + given[0].replace("_", "-")
            raise InputError(f"{option} is for verdicts; add --threshold auto.")
        return
    if judging.calibration and (
        judging.threshold is not None or judging.fuse or judging.confidence
    ):
        raise InputError(
            "--calibration brings its own threshold, fusion and abstention; leave out --threshold, "
            "--fuse and --confidence."
        )
    if numeric and (judging.fuse or judging.confidence):
        raise InputError(
            "--fuse and --confidence need held-out normal images; give --threshold auto."
        )
    if judging.suspects and not judging.finds_threshold:
        raise InputError("--suspects is for held-out normal images; give --threshold auto.")
    if judging.fuse and len(heads) < 2:
        raise InputError("--fuse combines several heads; name them, as in --head winclip,memory.")
    if len(heads) > 1 and (numeric or judging.map_threshold is not None):
        option = "--threshold" if numeric else "--map-threshold"
        raise InputError(
            f"{option} as a number is for one head, but there are {len(heads)}; name one with "
            "--head."
        )


def rules_of(
    judging: Judging,
    heads: Mapping[str, Head],
    held_out: Sequence[Sample] | None,
    images: int,
    notes: Sequence[str] = (),
) -> Rules | None:
    """The rules that the options stand for; None if no verdicts are asked for.

    Args:
        held_out: normal images that no head is fitted on; None if there are none, or none is
            usable.
        images: number of images to judge.
        notes: why they are not usable.

    Raises:
        InputError: too few images to find a threshold from.
    """
    from vlad.calibration import Calibration, load_calibration
    from vlad.calibration.conformal import check_enough, least_reference
    from vlad.calibration.sources import LEAST_UNLABELLED
    from vlad.results.verdicts import Rules

    if not judging.wanted:
        return None
    rules = Rules(
        false_alarms=judging.false_alarms,
        suspects=judging.suspects,
        method=judging.fuse,
        confidence=judging.confidence,
        map_threshold=judging.map_threshold,
        min_area=judging.min_area,
        mm_per_pixel=judging.mm_per_pixel,
    )
    if judging.calibration:
        found = load_calibration(judging.calibration)
        if set(found.reference) != set(heads):
            raise InputError(
                f"{judging.calibration} is for {', '.join(found.reference)}, but the heads are "
                f"{', '.join(heads)}; name the same with --head."
            )
        return replace(rules, calibration=found)
    if isinstance(judging.threshold, float):
        (head,) = heads
        return replace(rules, calibration=Calibration.fixed(head, judging.threshold))
    if held_out is not None:
        check_enough(len(held_out), judging.false_alarms)
        return replace(rules, held_out=held_out)
    if judging.suspects:
        raise InputError("--suspects is for held-out normal images; give some with --normal.")
    if images < LEAST_UNLABELLED:
        least = least_reference(judging.false_alarms)
        raise InputError(
            f"--threshold auto needs {least} held-out normal images or {LEAST_UNLABELLED} images "
            f"to judge, but there are {images} to judge; give more with --normal, or a number as "
            "--threshold."
        )
    return replace(rules, notes=notes)
