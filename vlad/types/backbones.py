"""What a head may know of a backbone, and the names of what it can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Activation = Literal["gelu", "quick_gelu"]
# "bicubic_offset" is that of DINOv2's authors, whose scale is 0.1 patches larger than the grid
PosEmbedResize = Literal[
    "bicubic_antialias", "bicubic", "bicubic_offset", "bilinear", "bilinear_antialias"
]
# how images are resized, by Pillow's names
Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]


# what a backbone may be able to do besides patch tokens and the image embedding:
# "windows" passes of their own for windows of patches; "streams" further attention streams;
# "image tokens" learned tokens in the image encoder; "joint" patch tokens in the space of text;
# "weights" linear maps of whole tokens in its attention; "pyramid" maps of a convolutional network
# at strides 2, 4, 8, 16 and 32
Capability = Literal["windows", "streams", "image tokens", "joint", "weights", "pyramid"]
NATIVE: frozenset[Capability] = frozenset(
    {"windows", "streams", "image tokens", "joint", "weights"}
)
# a block (from 1), or several whose patch tokens are averaged before they are compared
Layer = int | tuple[int, ...]
# layers as users name them: block numbers (whole) or fractions of the depth
Parts = Sequence[float | Sequence[float]]


@dataclass(frozen=True)
class BackboneInfo:
    """What a head may know of a backbone before it says which features it needs.

    Attributes:
        name: the name it was loaded under.
        depth: number of transformer blocks, or stages of a convolutional network, counted from 1.
        width: channels C of the raw patch tokens, those of the last block if they differ.
        embed_dim: dimensions D of the image embedding.
        patch_size: pixels between neighbouring patch tokens.
        image_size: pixels a side of the input it was trained at.
        has_text: whether it has a text encoder.
        has_cls: whether it has a CLS token (SigLIP has none).
        text_width: channels T of its text encoder, if tokens can be learned inside it.
        text_depth: blocks of that text encoder in which tokens can be learned too; 0 without any.
        temperature: of the softmax of its cosines of images and text.
        activation: of its MLPs, if it is one of CLIP's two, else None.
        pos_embed: how its positional embeddings are resized to another grid.
        capabilities: what it can do besides patch tokens and the image embedding.
        widths: channels of every block, if they differ.
        pyramid: channels of the maps of its pyramid, finest first; () if it has none.
        step: a side of the input must be a multiple of it; 0 is the patch size.
        fixed_size: whether it takes inputs of `image_size` only.
        compare: layers for heads that compare patch tokens, if nobody names others; () leaves the
            choice to the head.
        preparation: what its own library does to images first, in words; vlad resizes the whole
            image to a square and cuts nothing off, so that no border is left unseen.
    """

    name: str
    depth: int
    width: int
    embed_dim: int
    patch_size: int
    image_size: int
    has_text: bool
    has_cls: bool = True
    text_width: int | None = None
    text_depth: int = 0
    temperature: float = 0.01
    activation: Activation | None = None
    pos_embed: PosEmbedResize = "bicubic_antialias"
    capabilities: frozenset[Capability] = NATIVE
    widths: tuple[int, ...] = ()
    pyramid: tuple[int, ...] = ()
    step: int = 0
    fixed_size: bool = False
    compare: tuple[Layer, ...] = ()
    preparation: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", self.step or self.patch_size)

    def channels(self, layer: Layer) -> int:
        """Channels of the patch tokens of a layer."""
        block = layer if isinstance(layer, int) else layer[0]
        return self.widths[block - 1] if self.widths else self.width

    def layers(self, parts: Parts) -> tuple[Layer, ...]:
        """Block numbers (whole) or fractions of the depth, or lists of them to average, as layers.

        A layer that a shallow backbone would give twice comes once.
        """

        def block(part: float) -> int:
            return part if isinstance(part, int) else max(1, round(self.depth * part))

        def layer(part: float | Sequence[float]) -> Layer:
            parts = [part] if isinstance(part, int | float) else part
            blocks = tuple(dict.fromkeys(map(block, parts)))
            return blocks if len(blocks) > 1 else blocks[0]

        return tuple(dict.fromkeys(map(layer, parts)))

    def compared(self, given: Parts | None) -> tuple[Layer, ...]:
        """The layers that a head compares patch tokens of, as `layers` reads them.

        None is `compare`, or else one, two and three quarters of the depth.
        """
        return self.layers(given or self.compare or (0.25, 0.5, 0.75))

    def replaced(self, activation: Activation | None) -> Activation | None:
        """The activation that replaces the backbone's own; None if none has to.

        Some methods run CLIP weights trained with one of its two GELUs with the other; backbones
        of another kind keep their own.
        """
        return None if activation == self.activation or not self.activation else activation
