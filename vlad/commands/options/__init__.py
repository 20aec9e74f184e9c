"""Options that several verbs share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from vlad.commands.options.option import option, together
from vlad.errors import HeadError, InputError

if TYPE_CHECKING:
    from vlad.backbones.backbone import Backbone
    from vlad.detector import Detector
    from vlad.heads import Head
    from vlad.scoring.setup import Setup


OPTIONS = {
    "backbone": option(
        "--backbone NAME|PATH",
        "Backbone: vlad-tiny (built in), MODEL/TAG of open_clip, timm/NAME, a weights file, "
        "MODEL=FILE, or a Hugging Face folder or name.  [default: "
        "ViT-B-16-plus-240/laion400m_e31, downloaded once]",
    ),
    "bank": option("--bank NAME|TOML", "Prompt bank to use instead of each head's own."),
    "guide": option(
        "--guide NAME|TOML",
        "Prompt bank; compare images only by what its normal and anomalous sentences differ "
        "in, as LAFT does.",
    ),
    "ignore": option(
        "--ignore NAME|TOML", "Prompt bank; compare images without what its sentences differ in."
    ),
    "directions": option(
        "--directions K",
        "Main directions of --guide and --ignore that are used.  [default: all]",
        type=click.IntRange(min=1),
    ),
    "param": option(
        "--param HEAD.NAME=VALUE",
        "Set a parameter of a head, as in memory.rotations=8; may be repeated.",
        "params",
        multiple=True,
    ),
    "adapter": option(
        "--adapter NAME|PATH",
        "Trained adapter: a name from `vlad adapters list`, or a path; may be repeated.",
        "adapters",
        multiple=True,
    ),
    "image_size": option(
        "--image-size PIXELS",
        "Side of the backbone's input.  [default: the backbone's own]",
        type=click.IntRange(min=16),
    ),
    "cache": option(
        "--cache DIR", "Store the backbone's features here, and reuse those of earlier commands."
    ),
    "tile": option(
        "--tile PIXELS",
        "Cut larger images into square tiles of this side, and score each tile.",
        type=int,
    ),
    "overlap": option(
        "--overlap FRACTION",
        "Minimum overlap between tiles, as a fraction.  [default: 0.25]",
        type=float,
    ),
    "batch_size": option(
        "--batch-size N", "Images, or tiles, per pass.", type=click.IntRange(min=1), default=8
    ),
    "device": option("--device NAME", "Where to compute: cpu, cuda, mps, ...", default="auto"),
    "dtype": option(
        "--dtype",
        "Numeric precision of the backbone; int8 needs --runtime onnx.",
        type=click.Choice(["float32", "bfloat16", "float16", "int8"]),
        default="float32",
    ),
    "runtime": option(
        "--runtime NAME",
        "Library that runs the backbone: torch, compile, onnx, openvino.",
        default="torch",
    ),
    "max_pixels": option(
        "--max-pixels N",
        "Refuse larger images before decoding them.",
        type=click.IntRange(min=1),
        default=100_000_000,
        show_default="100 million",
    ),
    "bits": option(
        "--bits N",
        "Significant bits of 16-bit images, for example 12 for a 12-bit camera.",
        type=click.IntRange(min=9, max=16),
        default=16,
    ),
}


def given(*names: str) -> Callable[[Callable], Callable]:
    """Add some of OPTIONS to a command."""
    return together(*(OPTIONS[name] for name in names))


@dataclass(frozen=True)
class Common:
    """The values of the options of `common_options`.

    Attributes:
        given: fields of the setup that have no default, or were given.
    """

    setup: Setup
    params: tuple[str, ...]
    adapters: tuple[str, ...]
    given: frozenset[str] = frozenset()


def common_options(command: Callable) -> Callable:
    """Add the options of backbone, heads and images; the command gets them as `common`."""

    @wraps(command)
    def packed(params, adapters, **options):
        from vlad.scoring.setup import Setup

        # not every command takes a region of interest
        taken = {field.name: options.pop(field.name, None) for field in fields(Setup)}
        chosen = frozenset(name for name, value in taken.items() if value is not None)
        common = Common(setup_of(taken), params, adapters, chosen)
        return command(common=common, **options)

    return given(*OPTIONS)(packed)


def setup_of(options: Mapping[str, Any]) -> Setup:
    """The setup that options of OPTIONS ask for; None leaves its default.

    Raises:
        InputError: options that need each other, or a value out of its range.
    """
    from vlad.scoring.setup import Setup

    if options["overlap"] is not None and options["tile"] is None:
        raise InputError("--overlap applies to tiles; set their size with --tile, or leave it out.")
    return Setup(**{name: value for name, value in options.items() if value is not None})


# for commands with `common_options`, as part of `common`
roi_options = together(
    option(
        "--roi FILE",
        "Region of interest, outside which defects do not count: a mask image or JSON with a "
        "polygon or box.",
    ),
    option("--roi-ignore FILE", "Where defects do not count, in the same formats as --roi."),
)
known_defects_option = option(
    "--known-defects DIR",
    "Marked defects for the head labelled: a folder per kind, and masks in ground_truth.",
)
layout_option = option(
    "--layout NAME",
    "Layout of the data set: mvtec, mvtec_loco, mvtec_ad_2, mpdd, btad, visa, "
    "kolektorsdd, kolektorsdd2, real_iad, folder, csv; auto detects it.",
    default="auto",
)


def check_known(known: object, heads: Mapping[str, Head]) -> None:
    """Raise a HeadError if known defects are given to no head, or a head lacks them."""
    from vlad.heads.labelled import Labelled

    learning = [name for name, head in heads.items() if isinstance(head, Labelled)]
    if known and not learning:
        raise HeadError(
            f"No head here learns known defects ({', '.join(heads)}); leave --known-defects out, "
            "or add --head labelled."
        )
    if learning and not known:
        raise HeadError(
            f"Head {learning[0]} learns marked defects too; name them with --known-defects, or "
            "use the head memory."
        )


def make_heads(names: str, common: Common) -> dict[str, Head]:
    """ "winclip,memory" with the --param and --adapter that belong to them -> name -> head.

    Raises:
        HeadError, AdapterError: as `head_params`, or a parameter that a head does not have.
    """
    from vlad.heads import load_head

    made = [load_head(name, **given) for name, given in head_params(names, common).items()]
    return {head.name: head for head in made}


def make_detector(head: str, category: str | None, common: Common) -> Detector:
    """Make a detector from the options of a command.

    Raises:
        HeadError, AdapterError: as `make_heads`, or several heads.
    """
    from vlad.detector import Detector

    if len(make_heads(head, common)) > 1:
        raise HeadError(f"A detector has one head, but --head {head} names several; name one.")
    ((name, params),) = head_params(head, common).items()
    return Detector(name, category=category, head_params=params or None, **asdict(common.setup))


def head_params(names: str, common: Common) -> dict[str, dict]:
    """ "winclip,my_head.py:Mean" -> each -> those of --param and --adapter that belong to it.

    Raises:
        HeadError: no head, two of one name, or a parameter or adapter for one not asked for.
        AdapterError: an unknown adapter.
    """
    from vlad.adapters import head_of
    from vlad.heads import head_name

    listed = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not listed:
        raise HeadError("No head is named; give one or several, as in --head winclip,memory.")
    wanted = [head_name(name) for name in listed]
    given: dict[str, dict] = {name: {} for name in wanted}
    if len(given) < len(wanted):
        raise HeadError(
            f"Two heads of --head {names} have the same name; set another in one class."
        )
    for param in common.params:
        target, equals, value = param.partition("=")
        head, dot, name = target.partition(".")
        if not (equals and dot) or head not in given:
            raise HeadError(
                f"--param {param} does not name a parameter of {' or '.join(wanted)}; write it as "
                "memory.rotations=8."
            )
        given[head][name] = _value(value)
    for adapter in common.adapters:
        head = head_of(adapter)
        if head not in given:
            raise HeadError(
                f"Adapter {adapter} is for head {head}, which is not among {', '.join(wanted)}; "
                "add it to --head, or leave the adapter out."
            )
        if "adapter" in given[head]:
            raise HeadError(
                f"Head {head} has two adapters, {given[head]['adapter']} and {adapter}; name one."
            )
        given[head]["adapter"] = adapter
    return dict(zip(listed, given.values(), strict=True))


def _value(text: str) -> object:
    """A TOML value, or the text itself if it is not one, so that words need no quotes."""
    from vlad.system.resources import tomllib

    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return tuple(value) if isinstance(value, list) else value


def open_backbone(common: Common, heads: Mapping[str, Head]) -> Backbone:
    """Load the backbone of --backbone, or the default, without the logging of its libraries.

    Args:
        heads: name -> head; one that cannot use the backbone is refused before a download.
    """
    quiet_open_clip()
    return common.setup.load_backbone(heads)


def quiet_open_clip() -> None:
    """Silence the root logger, to which open_clip logs what its errors repeat."""
    logging.getLogger().setLevel(logging.CRITICAL)


def say_if_trial(backbone: Backbone) -> None:
    """Say on stderr, once a command has done its work, if the backbone is for trying out."""
    from vlad.backbones import EMBEDDED

    if (name := backbone.info.name) in EMBEDDED:
        click.echo(f"Note: {name} is for trying out; choose another --backbone for work.", err=True)


def say_threshold(detector: Detector) -> None:
    """Say the threshold of a calibrated detector, and what it rests on."""
    from vlad.calibration.counts import counts

    found, name = detector.calibration_, detector.head_.name
    count = len(found.names)
    click.echo(f"Anomalous above {found.thresholds[name]:.6g}, from {count} held-out normal images")
    for said in (*counts(found, name), found.basis(name)):
        click.echo(said)
