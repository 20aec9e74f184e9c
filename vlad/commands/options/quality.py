"""--quality: backbone, input size, tiles and head together, for users who do not want to choose."""

from __future__ import annotations

from dataclasses import dataclass, replace

import click

from vlad.commands.options import Common
from vlad.commands.options.option import option

LEVELS = ("fast", "balanced", "best")
LEAST_COMPARED = 16  # images, below which musc has too few to compare an image with
TILE = 1024  # pixels


@dataclass(frozen=True)
class Preset:
    """What a level sets.

    Attributes:
        image_size: None is the backbone's own.
        tile: None leaves images whole.
        head: on this backbone; on another one the default head stays.
    """

    backbone: str
    image_size: int | None = None
    tile: int | None = None
    head: str | None = None


WORDS = Preset("ViT-B-16-plus-240/laion400m_e31")
FAST = Preset("facebook/dinov2-small", 224)
BALANCED = replace(FAST, image_size=448)
GIANT = Preset("facebook/dinov2-with-registers-giant", 672, TILE, "subspace")
# default head -> level -> what it sets; docs/choose.md has the grounds
PRESETS = {
    "memory": {"fast": FAST, "balanced": BALANCED, "best": GIANT},
    "winclip": dict.fromkeys(LEVELS, WORDS),
    "self_reference": {"fast": FAST, "balanced": BALANCED, "best": BALANCED},
}
MANY = Preset("ViT-L-14-336/openai", head="musc")  # images alone, but many


quality_option = option(
    "--quality",
    "Set backbone, input size, tiles and head together; any of them that is given stays.",
    type=click.Choice(LEVELS),
)


def preset_of(quality: str, default: str, images: int) -> Preset:
    """The preset of a level.

    Args:
        default: the head that would be used otherwise.
        images: to score, as far as it is known.
    """
    if (quality, default) == ("best", "self_reference") and images >= LEAST_COMPARED:
        return MANY
    return PRESETS[default][quality]


def set_by(
    quality: str, common: Common, head: str | None, default: str, images: int
) -> tuple[Common, str]:
    """The options and heads with what a level sets where nothing was given; says what that is.

    The input size and the head go with the backbone of the level, so on another one they stay as
    they are.

    Args:
        head, default: the one given, if any, and the one used otherwise.
        images: to score, as far as it is known.
    """
    from vlad.heads import head_maker

    if head:
        reads = any(getattr(head_maker(name.strip()), "bank", None) for name in head.split(","))
        default = "winclip" if reads else default if default != "winclip" else "memory"
    preset = preset_of(quality, default, images)
    setup, given = common.setup, common.given
    own = "backbone" not in given
    if own:
        setup = replace(setup, backbone=preset.backbone)
    if own and "image_size" not in given:
        setup = replace(setup, image_size=preset.image_size)
    if "tile" not in given:
        setup = replace(setup, tile=preset.tile)
    chosen = head or (own and preset.head) or default

    def marked(text: str, name: str) -> str:
        return f"{text} (as given)" if name in given or (name == "head" and head) else text

    side, tile = setup.image_size, setup.tile
    parts = (
        marked(f"head {chosen}", "head"),
        marked(f"backbone {setup.backbone}", "backbone"),
        marked(f"input of {side} pixels" if side else "input of its own size", "image_size"),
        marked(f"tiles of {tile} pixels" if tile else "whole images", "tile"),
    )
    click.echo(f"Quality {quality}: {', '.join(parts)}.")
    return replace(common, setup=setup), chosen
