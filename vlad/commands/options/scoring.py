"""What `vlad score` and `vlad watch` share: heads, settings and rules for verdicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from vlad.commands.options import (
    Common,
    check_known,
    common_options,
    known_defects_option,
    make_heads,
    open_backbone,
    roi_options,
)
from vlad.commands.options.detector import detector_option, open_detector
from vlad.commands.options.option import option, together
from vlad.commands.options.quality import quality_option, set_by
from vlad.commands.options.sections import SectionedCommand
from vlad.commands.options.verdicts import Judging, check_judging, judging_options, rules_of
from vlad.errors import HeadError, InputError

if TYPE_CHECKING:
    from vlad.backbones.backbone import Backbone
    from vlad.detector import Detector
    from vlad.heads import Head
    from vlad.results.folder import MapFormat
    from vlad.runs.settings import Settings

SPREAD = ("--normal", "--defects", "--holdout-normal")  # options that take several files
# the default head without normal images and without words
ALONE = "self_reference"


class ScoringCommand(SectionedCommand):
    """Lets an option take several files, as a shell expands them, if images come before it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        images = False  # whether a PATH was named
        run = 0  # bare words since the last such option, its own value included
        last = ""  # that option
        for before, arg in zip(["", *args], args, strict=False):
            if arg.startswith("-"):
                run = 0
            elif before in SPREAD:
                run, last = 1, before
            elif run:
                run += 1
                if images:
                    spread.append(last)
                elif run == 3:
                    raise InputError(
                        f"With several files after {last}, the images to score come first; write "
                        f"vlad {self.name} PATH... {last} FILES."
                    )
            elif not (before.startswith("-") and self._takes_value(before)):
                images = True
            spread.append(arg)
        return super().parse_args(ctx, spread)

    def _takes_value(self, option: str) -> bool:
        return any(
            option in p.opts for p in self.params if isinstance(p, click.Option) and not p.is_flag
        )


@dataclass(frozen=True)
class Scoring:
    """The values of the options of `scoring_options`."""

    category: str | None
    normals: tuple[str, ...]
    known_defects: str | None
    k_shot: int | None
    seed: int
    head: str | None
    quality: str | None
    pools: tuple[str, ...]
    map_format: MapFormat | None
    common: Common
    judging: Judging
    detector: Detector | None


normal_option = option(
    "--normal DIR|FILES",
    "Normal images to compare with; may be repeated.",
    "normals",
    multiple=True,
)
# what the images show, and the normal images that heads are fitted on
normal_options = together(
    option("--category WORDS", "What the images show, for example hazelnut."),
    normal_option,
    known_defects_option,
    option(
        "--k-shot K",
        "Use K of the normal images, drawn at random.  [default: all of them]",
        type=click.IntRange(min=1),
    ),
    option("--seed N", "Random seed for --k-shot.", type=click.IntRange(min=0), default=0),
)
_head_options = together(
    normal_options,
    option(
        "--pool DIR|FILES",
        "Images, normal or not, that musc compares each image with; may be repeated.  "
        "[default: the images to score]",
        "pools",
        multiple=True,
    ),
    option(
        "--head NAMES",
        "One or several heads, as in winclip,memory.  [default: memory with --normal, "
        "winclip with --category or --bank, self_reference without any]",
    ),
    quality_option,
    detector_option,
    roi_options,
    common_options,
)


def scoring_options(command: Callable) -> Callable:
    """Add the options of normal images, heads, maps and verdicts; the command gets them as
    `scoring`."""

    @_head_options
    @option(
        "--maps",
        "Anomaly maps as 16-bit PNG or float32 npy; none also skips the overlays.  [default: png]",
        "map_format",
        type=click.Choice(["png", "npy", "none"]),
    )
    @judging_options
    @wraps(command)
    def packed(**options):
        return command(scoring=_scoring(options), **options)

    return packed


def model_options(command: Callable) -> Callable:
    """Add the options of normal images and heads alone; the command gets them as `scoring`, without
    maps and verdicts."""

    @_head_options
    @wraps(command)
    def packed(**options):
        options |= {"map_format": "none", "judging": Judging()}
        return command(scoring=_scoring(options), **options)

    return packed


def _scoring(options: dict[str, Any]) -> Scoring:
    """Take the values of the options out of all."""
    if folder := options["detector"]:
        options["detector"], options["common"] = open_detector(folder, options["category"])
    return Scoring(**{field.name: options.pop(field.name) for field in fields(Scoring)})


@dataclass(frozen=True)
class Plan:
    """The heads of a run, not yet fitted, its settings, and the options of both."""

    heads: dict[str, Head]
    settings: Settings
    detector: Detector | None = None

    def open_backbone(self) -> Backbone:
        """Load the backbone; one with other weights than the detector's is refused."""
        found = open_backbone(Common(self.settings.setup, (), ()), self.heads)
        if self.detector:
            self.detector.backbone_ = found
        return found


def plan_of(scoring: Scoring, images: int, categorised: bool = False) -> Plan:
    """The heads and settings that the options ask for; says so if only the images remain.

    Args:
        images: number of images to score, as far as it is known.
        categorised: whether images say what they show.

    Raises:
        VladError: options that do not fit each other, or images that do not exist.
    """
    from vlad.datasets import list_samples
    from vlad.datasets.known import list_known
    from vlad.datasets.shots import draw_shots
    from vlad.prompts import load_bank
    from vlad.runs.settings import Settings

    common, judging, normals, k_shot = (
        scoring.common, scoring.judging, scoring.normals, scoring.k_shot,
    )  # fmt: skip
    if scoring.detector:
        return _with_detector(scoring.detector, scoring, images, categorised)
    if k_shot and not normals:
        raise InputError("--k-shot draws from normal images; name them with --normal.")
    named = bool(scoring.category or common.setup.bank or categorised)
    default = default_head(bool(normals), named)
    head = scoring.head or default
    if scoring.quality:
        common, head = set_by(scoring.quality, common, scoring.head, default, images)
    heads = make_heads(head, common)
    check_judging(judging, heads)
    normal = list_samples(normals) if normals else []
    pool = list_samples(scoring.pools) if scoring.pools else []
    known = list_known(scoring.known_defects) if scoring.known_defects else []
    check_known(known, heads)
    fitted = any(made.normals != "unused" for made in heads.values())
    if judging.finds_threshold and normals and not (k_shot and fitted):
        # half of them for the heads, and half to set the threshold
        k_shot = (len(normal) + 1) // 2 if fitted else 0
    references = draw_shots(normal, k_shot, scoring.seed)
    for name, made in heads.items():
        if made.normals == "needed" and not references:
            raise InputError(f"Head {name} compares with normal images; name them with --normal.")
    if normals and not fitted and not judging.finds_threshold:
        raise InputError(
            f"No head here uses normal images ({', '.join(heads)}); leave --normal out, "
            "or add a head such as memory."
        )
    _check_maps(scoring)
    if common.setup.bank:
        load_bank(common.setup.bank)
    common = replace(common, setup=common.setup.with_region())
    shown = set(references)
    held_out = [sample for sample in normal if sample not in shown] if normals else None
    notes = []
    joint = [name for name, made in heads.items() if made.transductive and not pool]
    if joint and held_out:
        notes = [
            f"No false-alarm rate is held: scores of {', '.join(joint)} depend on all images of a "
            f"run, so the {len(held_out)} held-out normal images set no threshold."
        ]
    settings = Settings(
        common.setup,
        scoring.category,
        references,
        scoring.seed,
        scoring.map_format or "png",
        rules_of(judging, heads, None if joint else held_out, images, notes),
        pool,
        known=known,
        quality=scoring.quality,
    )
    if not scoring.head and head == ALONE:
        click.echo(
            f"No normal images, no category: head {head} compares each image with itself; give "
            "--normal or --category for more."
        )
    return Plan(heads, settings)


def _with_detector(detector: Detector, scoring: Scoring, images: int, categorised: bool) -> Plan:
    """The plan of a run with a saved detector, whose threshold decides unless another is given."""
    from vlad.results.verdicts import Rules
    from vlad.runs.settings import Settings

    head = detector.head_
    heads, judging = {head.name: head}, scoring.judging
    if head.normals == "needed" and not head.fitted:
        raise HeadError(
            f"The head {head.name} of this detector was saved before it was fitted; fit it first."
        )
    _check_maps(scoring)
    own = None if judging.wanted else getattr(detector, "calibration_", None)
    if own and head.bank and categorised:
        raise InputError(
            f"The threshold of this detector is for images of {detector.category}, but these "
            "say themselves what they show; leave that out, or name a --threshold."
        )
    if own:
        if given := [name for name in ("confidence", "suspects") if getattr(judging, name)]:
            raise InputError(
                f"--{given[0]} was chosen when this detector was calibrated; leave it out, or "
                "fit another."
            )
        rules: Rules | None = Rules(
            calibration=own,
            map_threshold=judging.map_threshold,
            min_area=judging.min_area,
            mm_per_pixel=judging.mm_per_pixel,
        )
    else:
        check_judging(judging, heads)
        rules = rules_of(judging, heads, None, images)
    settings = Settings(
        detector.setup,
        detector.category,
        map_format=scoring.map_format or "png",
        rules=rules,
        learned=detector.learned_,
        normals=detector.references_,
    )
    return Plan(heads, settings, detector)


def _check_maps(scoring: Scoring) -> None:
    """Raise an InputError for options about regions where no maps are written."""
    judging = scoring.judging
    regions = (judging.map_threshold, judging.min_area, judging.mm_per_pixel)
    if scoring.map_format == "none" and any(regions):
        raise InputError(
            "Regions are found in maps, but this run writes none; leave out --map-threshold, "
            "--min-area and --mm-per-pixel."
        )


def default_head(normals: bool, named: bool) -> str:
    """The head without --head.

    Args:
        normals: whether there are normal images.
        named: whether it is known what the images show; a bank may have a noun of its own.
    """
    if normals:
        return "memory"
    return "winclip" if named else ALONE
