"""vlad synth: normal images in; a labelled set of synthetic defects out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from vlad.commands.options import given, quiet_open_clip
from vlad.commands.options.option import option
from vlad.errors import InputError
from vlad.system.text import counted, shown

if TYPE_CHECKING:
    from vlad.synthetic.quality import Posterior


@click.command()
@click.argument("root", metavar="DIR")
@option("--out DIR", "Output folder; new or empty.", required=True)
@option("--count N", "Images per generator.", type=click.IntRange(min=1), default=8)
@option("--seed N", "Random seed.", type=click.IntRange(min=0), default=0)
@option(
    "--generator NAMES",
    "One or several, as in scratch,stain: cutpaste, cutpaste_scar, perlin, poisson, "
    "scratch, stain, missing, colour.  [default: all of them]",
    "names",
)
@option("--textures DIR", "Images of other materials for perlin.  [default: drawn textures]")
@option(
    "--rank",
    ("Also rank the generators by how useful their defects are (expected anomaly posterior)."),
    "ranked",
)
@option("--backbone NAME|PATH", "Backbone for --rank, as in `vlad score`.  [default: vlad-tiny]")
@given("device")
def synth(root, out, count, seed, names, textures, ranked, backbone, device) -> None:
    """Draw synthetic defects on normal images.

    The output is a labelled data set:

    \b
    vlad synth good/ --out synthetic
    vlad eval synthetic --head memory
    """
    from vlad.datasets.folder import list_images
    from vlad.datasets.layout import existing_folder
    from vlad.synthetic import generator_names, load_generators
    from vlad.synthetic.write import check_folder, write_set
    from vlad.system.progress import Progress

    wanted = None if names is None else [n.strip() for n in names.split(",") if n.strip()]
    chosen = list(load_generators(wanted))
    if backbone and not ranked:
        raise InputError("--backbone is for --rank; add --rank, or leave --backbone out.")
    check_folder(out)
    root = existing_folder(root)
    _refuse_labelled(root)
    samples = list_images(root)
    materials = list_images(existing_folder(textures)) if textures else []
    loaded = None
    if ranked:
        from vlad.backbones import load_backbone

        quiet_open_clip()
        loaded = load_backbone(backbone or "vlad-tiny", device)
    with Progress(len(chosen) * count, verb="drawn") as progress:
        done = write_set(
            samples, out, chosen, count, seed, textures=materials, progress=progress.advance
        )
    for path, error in done.left_out.items():
        click.echo(shown(f"Left out {path}: {error}", keep="\n"), err=True)
    click.echo(
        f"{counted(len(chosen) * count, 'image')} with a defect ({len(chosen)} of "
        f"{len(generator_names())} generators), {len(done.held_out)} normal for testing and "
        f"{len(done.references)} for reference: {out}\nSheet: {done.sheet}"
    )
    if loaded:
        from vlad.evaluation.synthetic import rank

        groups = {"(normal images)": done.held_out, **done.damaged}
        click.echo(table(rank(loaded, done.references, done.held_out, groups)))


def _refuse_labelled(root) -> None:
    """Check that the folder holds no defective images; raise an InputError if it does."""
    from vlad.datasets.detect import detect

    try:
        layout = detect(root)
    except InputError:
        return
    raise InputError(
        f"{root} is a labelled data set ({layout}), not a folder of normal images; give its "
        "folder of normal images, such as train/good."
    )


def table(ranked: Mapping[str, Posterior]) -> str:
    """Means of each generator as lines of text, best first.

    `told apart` is the mean probability of being anomalous, `near normal` the mean evidence; if
    the posterior is low, so is one of them.
    """
    width = max(len("generator"), *map(len, ranked))
    lines = [f"{'generator':{width}}  images    EAP  told apart  near normal"]
    for name, found in ranked.items():
        means = (x.mean() for x in (found.expected, found.probability, found.evidence))
        eap, apart, near = means
        lines.append(
            f"{name:{width}}  {len(found.expected):8}  {eap:5.3f}  {apart:10.2f}  {near:11.2f}"
        )
    return "\n".join(lines)
