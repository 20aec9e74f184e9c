"""vlad backbones: list, describe and download what --backbone accepts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vlad.commands.options import quiet_open_clip
from vlad.commands.options.columns import aligned, megabytes
from vlad.commands.options.option import option

if TYPE_CHECKING:
    from vlad.backbones.backbone import Backbone
    from vlad.types import BackboneInfo


class Names(click.Group):
    """Takes any word that is not a command for the name of a backbone."""

    def resolve_command(self, ctx, args):
        """The command and its arguments."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            args = ["show", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=Names, invoke_without_command=True, subcommand_metavar="[NAME | fetch NAME]")
@click.pass_context
def backbones(ctx: click.Context) -> None:
    """List backbones, describe one by NAME, or download one.

    \b
    vlad backbones
    vlad backbones facebook/dinov2-small
    vlad backbones fetch facebook/dinov2-small --to dinov2
    """
    quiet_open_clip()
    if ctx.invoked_subcommand is None:
        _list()


def _list() -> None:
    import vlad.backbones
    from vlad.backbones.known import known_backbones
    from vlad.backbones.stored import stored_backbones

    stored = stored_backbones()
    rows = [["on this disk", "size", "where"]]
    rows += [[found.name, megabytes(found.size), str(found.path)] for found in stored]
    click.echo(aligned(rows))
    rows = [["downloaded on first use", "about", "kind", "licence", "for"]]
    rows += [
        [known.name, f"{known.size / 1e9:.1f} GB", known.kind, known.licence, known.use]
        for known in known_backbones()
        if known.name not in {found.name for found in stored}
    ]
    click.echo(f"\n{aligned(rows)}")
    click.echo(f"\nThe default is {vlad.backbones.DEFAULT}. --backbone takes:\n")
    click.echo((vlad.backbones.__doc__ or "").partition("\n\n")[2].rstrip())


@backbones.command(hidden=True)
@click.argument("name")
def show(name: str) -> None:
    """Describe a backbone: what it can do, and how it reads images."""
    from vlad.backbones import describe, load_backbone, remote_source

    remote = remote_source(name)
    loaded = None if remote else load_backbone(name, "cpu")
    info = loaded.info if loaded else describe(name)
    rows = [*_facts(info), *_reading(info, loaded), *_origin(name, bool(remote))]
    click.echo(name)
    click.echo(aligned([["", *row] for row in rows]))


def _facts(info: BackboneInfo) -> Iterator[tuple[str, str]]:
    from vlad.backbones.capabilities import WORDS

    parts = ", ".join(map(str, info.widths)) or str(info.width)
    yield "image encoder", f"{info.depth} blocks of {parts} channels"
    grid = f"a patch token every {info.patch_size} pixels"
    sizes = "this size only" if info.fixed_size else f"any multiple of {info.step}"
    yield "input", f"{info.image_size}×{info.image_size} pixels, or {sizes}; {grid}"
    text = "shared with text" if info.has_text else "no text encoder"
    yield "embedding", f"{info.embed_dim} dimensions, {text}"
    gives = [words for name, words in WORDS.items() if name in info.capabilities]
    gives += ["learned tokens in its text encoder"] * (info.text_width is not None)
    yield "gives", "patch tokens of every block, image embedding"
    for words in gives:
        yield "", words


def _reading(info: BackboneInfo, loaded: Backbone | None) -> Iterator[tuple[str, str]]:
    if loaded:
        mean, std = ([f"{x:g}" for x in values] for values in (loaded.mean, loaded.std))
        yield "pixels", f"{loaded.interpolation}; mean {' '.join(mean)}, std {' '.join(std)}"
    if "streams" in info.capabilities:  # others are resized by their library
        yield "positions", info.pos_embed
    if info.preparation:
        yield "its library", info.preparation


def _origin(name: str, remote: bool) -> Iterator[tuple[str, str]]:
    from vlad.backbones.known import known_backbones
    from vlad.backbones.stored import stored_backbones

    for known in known_backbones():
        if known.name == name:
            yield "good for", known.use
            if known.figures:
                yield "published", f"{known.figures} (image | pixel AUROC on MVTec AD, in %)"
            yield "licence", f"{known.licence} (of the weights; read it before you use them)"
    stored = {found.name: found for found in stored_backbones()}
    if name in stored:
        yield "on this disk", f"{stored[name].path} ({megabytes(stored[name].size)})"
    elif remote:
        yield "on this disk", f"no; `vlad backbones fetch {name}` downloads it"


@backbones.command()
@click.argument("name")
@option("--to DIR", "Write a folder here instead, for a machine without a network.", "folder")
def fetch(name: str, folder: str | None) -> None:
    """Download the weights of a backbone, once."""
    from vlad.backbones import load_backbone
    from vlad.backbones.fetch import fetch_to

    if folder is None:
        load_backbone(name, "cpu")
        click.echo(f"{name} is in the local cache; use it with --backbone {name}")
    else:
        fetch_to(name, Path(folder))
        click.echo(f"{name} is in {folder}; use it with --backbone {folder}")
