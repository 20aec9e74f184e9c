"""vlad export: a head and its backbone as graphs for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from vlad.commands.options import Common, check_known, given, known_defects_option, make_heads
from vlad.commands.options.detector import detector_option, open_detector
from vlad.commands.options.option import option
from vlad.commands.options.scoring import normal_option
from vlad.errors import InputError

if TYPE_CHECKING:
    from vlad.scoring.panel import Panel


@click.command("export")
@option(
    "--to", "Format of the graphs.", "form", required=True, type=click.Choice(["onnx", "openvino"])
)
@option("--head NAME", "Name of the head.  [default: memory with --normal, winclip without]")
@option("--category WORDS", "What the images show, for example hazelnut.")
@normal_option
@known_defects_option
@detector_option
@given("backbone", "bank", "param", "adapter", "image_size")
@option("--out DIR", "Output folder; new or empty.", required=True)
def export(
    form,
    head,
    category,
    normals,
    known_defects,
    detector,
    backbone,
    bank,
    params,
    adapters,
    image_size,
    out,
):
    """Export a head with its backbone as ONNX or OpenVINO graphs.

    One graph gives the features that the head needs, one the whole detector from pixels to map.
    Each is compared with torch on images that ship with vlad. export.json describes inputs and
    outputs for other programs.

    \b
    vlad export --to onnx --head winclip --category hazelnut --out hazelnut/
    vlad export --to openvino --head memory --normal good/ --out parts/
    vlad export --to onnx --detector detectors/bottle --out bottle/
    """
    from vlad.backbones import DEFAULT
    from vlad.backbones.runtimes import load_runtime
    from vlad.datasets import list_samples
    from vlad.demo import HAZELNUT
    from vlad.images import read_image
    from vlad.scoring.export import export as write
    from vlad.scoring.setup import Setup

    written = load_runtime(form)
    if detector:
        found, _ = open_detector(detector, category)
        if found.setup.tile:
            raise InputError(
                f"The detector {detector} cuts images into tiles, which a graph cannot; fit one "
                "without --tile."
            )
        if found.setup.roi:
            raise InputError(
                f"The detector {detector} has a region of interest, which a graph has not; fit one "
                "without --roi, and apply the region to the map."
            )
        category, name = found.category, found.head_.name
        found.set_params(device="cpu", runtime="torch")
        panel = found.panel_
    else:
        setup = Setup(backbone or DEFAULT, "cpu", image_size=image_size, bank=bank)
        common = Common(setup, params, adapters)
        name, panel = _fitted(head, category, normals, known_defects, common)
    shown = list_samples([HAZELNUT / "test"])
    images = [read_image(sample.path) for sample in (shown[0], shown[-1])]
    card = write(panel, name, written, out, images, category)
    for kind, outputs in card["deviation"].items():
        worst = max(outputs, key=outputs.get)
        click.echo(
            f"{card['files'][kind]}: differs from torch by at most {outputs[worst]:.1e} ({worst})"
        )
    if "detector" not in card["files"]:
        click.echo(
            f"{name} judges a list of images jointly, so there is no graph of the whole detector."
        )
    click.echo(f"Written: {out}")


def _fitted(
    head: str | None,
    category: str | None,
    normals: Sequence[str],
    known_defects: str | None,
    common: Common,
) -> tuple[str, Panel]:
    """The name of the head that the options ask for, and its panel, fitted."""
    from vlad.datasets import list_samples
    from vlad.datasets.known import list_known
    from vlad.images import read_image
    from vlad.scoring.known import fit_known

    head = head or ("memory" if normals else "winclip")
    heads = make_heads(head, common)
    if len(heads) > 1:
        raise InputError(
            f"--head {head} names several heads; name one, and export the others separately."
        )
    ((name, made),) = heads.items()
    references = list_samples(normals) if normals else []
    if made.normals == "needed" and not references:
        raise InputError(f"Head {name} compares with normal images; name them with --normal.")
    if made.normals == "unused" and references:
        raise InputError(f"Head {name} does not use normal images; leave --normal out.")
    known = list_known(known_defects) if known_defects else []
    check_known(known, heads)
    panel = common.setup.panel(common.setup.load_backbone(heads), heads)
    panel.text(name, category)  # reports a missing category before the work
    if references:
        panel.fit(read_image(sample.path) for sample in references)
    if known:
        fit_known(panel, known, read_image)
    return name, panel
