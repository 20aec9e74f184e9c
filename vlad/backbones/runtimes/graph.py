"""One kind of vision pass as a traceable module of plain tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from vlad.backbones.backbone import Backbone
from vlad.backbones.runtimes.files import Graph
from vlad.backbones.vit import Taps
from vlad.types import Activation, PosEmbedResize, Stream

PIXELS = "pixels"


class BackboneGraph(Graph):
    """The vision pass of a backbone with everything fixed except pixels and prompt tokens.

    `forward(pixels, *tokens)` takes (B, 3, H, W) normalised pixels and, for every block of
    `prompts`, (B, k, C) tokens; it returns the tensors named in `outputs`, in that order.

    Args:
        prompts: the blocks before which tokens enter. The others are those of
            `VisionTransformer.__call__`.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        taps: Iterable[tuple[Stream | None, int]] = (),
        windows: Iterable[int] = (),
        image: bool = True,
        activation: Activation | None = None,
        pos_embed: PosEmbedResize = "bicubic_antialias",
        prompts: Iterable[int] = (),
        cls: Iterable[tuple[Stream | None, int]] = (),
    ):
        super().__init__()
        self.model = backbone.model  # for tracers to find the weights
        self.vision = backbone.vision
        self.taps, self.cls = sorted(taps, key=repr), sorted(cls, key=repr)
        self.windows = sorted(windows)
        self.image = image
        self.activation, self.pos_embed = activation, pos_embed
        self.prompts = tuple(prompts)
        self.inputs = [PIXELS, *(f"prompts_{block}" for block in self.prompts)]
        places = [*self.taps, *self.cls]
        streams = list(dict.fromkeys(stream for stream, _ in places if stream))
        names = [
            f"{stream.kind}{streams.index(stream)}_{layer}" if stream else f"patches_{layer}"
            for stream, layer in places
        ]
        names[len(self.taps) :] = [f"cls_{name}" for name in names[len(self.taps) :]]
        windowed = [f"windows_{side}" for side in self.windows]
        # as in "patches_12", "vv0_24", "cls_patches_12", "windows_2", "last"; see `Taps`
        self.outputs = [*names, *windowed, *["last"] * image]
        self.eval()

    @property
    def key(self) -> str:
        """Identifies this pass among those of the same backbone."""
        options = {"activation": self.activation, "pos_embed": self.pos_embed}
        return repr((self.taps, self.windows, self.image, options, self.prompts, self.cls))

    def forward(self, pixels: torch.Tensor, *tokens: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.vision(
            pixels,
            taps=self.taps,
            windows=self.windows,
            image=self.image,
            prompts=dict(zip(self.prompts, tokens, strict=True)),
            activation=self.activation,
            pos_embed=self.pos_embed,
            cls=self.cls,
        )
        patches = [found.patches[tap] for tap in self.taps]
        classes = [found.cls[tap] for tap in self.cls]
        last = [] if found.last is None else [found.last]
        return (*patches, *classes, *(found.windows[side] for side in self.windows), *last)

    def unpack(self, outputs: Sequence[torch.Tensor], size: Sequence[int]) -> Taps:
        """The outputs of `forward` for pixels of `size` (H, W), in its own form."""
        rest = list(outputs)
        patches = {tap: rest.pop(0) for tap in self.taps}
        classes = {tap: rest.pop(0) for tap in self.cls}
        windows = {side: rest.pop(0) for side in self.windows}
        side = self.vision.patch_size
        grid = (size[0] // side, size[1] // side)
        return Taps(patches, rest.pop() if self.image else None, windows, grid, classes)
