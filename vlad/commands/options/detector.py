"""--detector: a saved detector in place of the options that it was fitted with."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import click

from vlad.commands.options import Common
from vlad.commands.options.option import option
from vlad.errors import InputError

if TYPE_CHECKING:
    from vlad.detector import Detector

# what a detector brings with it, by parameter; `params` and `adapters` are of --param, --adapter
BROUGHT = (
    *("head", "quality", "normals", "known_defects", "k_shot", "seed", "pools", "bank", "guide"),
    *("ignore", "directions", "params", "adapters", "backbone", "image_size", "tile", "overlap"),
    *("bits", "dtype", "roi", "roi_ignore"),
)


detector_option = option(
    "--detector DIR",
    "Score with a detector that `vlad fit` saved: its head, backbone, normal images and "
    "thresholds.",
)


def open_detector(folder: str, category: str | None = None) -> tuple[Detector, Common]:
    """The detector of --detector, and the options of the current command with its settings.

    The device is that of the command; the runtime, batch size and cache are, where given.

    Args:
        category: what --category says.

    Raises:
        InputError: no detector, or an option that it brings with it.
    """
    from vlad.detector import Detector

    context = click.get_current_context()
    named = {
        param.name: param.opts[0]
        for param in context.command.params
        if param.name and context.get_parameter_source(param.name) is not _DEFAULT
    }
    for name in BROUGHT:
        if name in named:
            raise InputError(
                f"{named[name]} was chosen when the detector {folder} was fitted; leave it out, or "
                "fit another with it."
            )
    found = Detector.load(folder)
    own = {f.name: context.params[f.name] for f in fields(found.setup) if f.name in named}
    if "device" in context.params:
        own["device"] = context.params["device"]
    if category is not None:
        own["category"] = category
    found.set_params(**own)
    return found, Common(found.setup, (), ())


_DEFAULT = click.core.ParameterSource.DEFAULT
