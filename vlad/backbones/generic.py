"""Any other image encoder, run by its own library: patch tokens of its blocks, and an embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from vlad.backbones.block import Map, identity
from vlad.backbones.vit import Pyramid, Taps
from vlad.errors import BackboneError
from vlad.types import Activation, PosEmbedResize, Stream

# (B, 3, H, W) pixels, blocks, whether the embedding is needed
# -> block -> (B, C, h', w') maps, and the (B, D) embedding
Run = Callable[
    [torch.Tensor, Sequence[int], bool], tuple[Mapping[int, torch.Tensor], torch.Tensor | None]
]


@dataclass
class GenericEncoder:
    """An image encoder whose forward pass stays that of its library.

    It has no windows, attention streams or learned tokens. Blocks of another resolution (stages of
    a convolutional network) come on one grid: coarser ones are enlarged bilinearly, finer ones
    averaged.

    Attributes:
        run: the library's own pass.
        patch_size: pixels between neighbouring patch tokens of the grid.
        dtype: type of matrix products and convolutions, by torch's autocast.
        ln_post: norm of patch tokens; identity if the encoder has none.
        joint: (B, N, C) patch tokens of the last block -> (B, N, D), each embedded as an image is;
            None if the encoder cannot embed a single token.
        pyramid: its maps at strides 2 to 32; None if it has not all of them.
    """

    run: Run
    patch_size: int
    dtype: torch.dtype = torch.float32
    ln_post: Map = identity
    joint: Map | None = None
    pyramid: Pyramid | None = None

    proj = staticmethod(identity)

    def embed_image(self, last: torch.Tensor, ln_post: bool = True) -> torch.Tensor:
        """(B, 1, D) image embedding of a pass -> (B, D)."""
        return last[:, 0]

    def __call__(
        self,
        pixels: torch.Tensor,
        *,
        taps: Iterable[tuple[Stream | None, int]] = (),
        windows: Iterable[int] = (),
        image: bool = True,
        activation: Activation | None = None,
        pos_embed: PosEmbedResize | None = None,
        prompts: Mapping[int, torch.Tensor] | None = None,
        cls: Iterable[tuple[Stream | None, int]] = (),
    ) -> Taps:
        """One pass; see `VisionTransformer.__call__`. Positions are resized as the library does.

        Class tokens are the mean of the patch tokens.

        Raises:
            BackboneError: an attention stream, windows, learned tokens or another activation.
        """
        taps, cls = set(taps), set(cls)
        if any(stream for stream, _ in taps | cls) or tuple(windows) or prompts or activation:
            raise BackboneError(
                "This image encoder is run by its own library, without windows, attention streams "
                "or learned tokens; choose a plain vision transformer as `backbone`."
            )
        height, width = (int(side) // self.patch_size for side in pixels.shape[-2:])
        half = self.dtype != torch.float32
        with torch.autocast(pixels.device.type, self.dtype if half else None, enabled=half):
            maps, embedding = self.run(pixels, sorted({n for _, n in taps | cls}), image)
        patches: dict[tuple[Stream | None, int], torch.Tensor] = {
            (None, n): on_grid(maps[n].float(), (height, width)).flatten(2).transpose(1, 2)
            for _, n in taps | cls
        }
        last = None if embedding is None else embedding.float()[:, None]
        means = {tap: patches[tap].mean(dim=1) for tap in cls}
        return Taps({tap: patches[tap] for tap in taps}, last, {}, (height, width), means)


def on_grid(x: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """(B, C, h', w') -> (B, C, h, w): enlarged bilinearly, or averaged."""
    have = (int(x.shape[-2]), int(x.shape[-1]))
    if have == grid:
        return x
    if have[0] > grid[0]:
        parts = (have[0] // grid[0], have[1] // grid[1])
        if (grid[0] * parts[0], grid[1] * parts[1]) == have:
            return F.avg_pool2d(x, parts)  # which graphs can hold
        return F.adaptive_avg_pool2d(x, grid)
    return F.interpolate(x, grid, mode="bilinear", align_corners=False)
