"""A small backbone of a kind beside the library's own outputs, for `conformance`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from vlad.backbones.backbone import Backbone
from vlad.types import BackboneInfo

SENTENCES = ["a photo of a damaged hazelnut.", "a photo of a bolt.", "nut"]
NEAR = 1e-5  # of the largest value: how close embeddings are


@dataclass
class Case:
    """A loaded backbone beside the library's own outputs.

    Attributes:
        backbone: as vlad loads it, in float32 on the CPU.
        hidden_states: pixels (B, 3, H, W) -> the output of every block by the library: patch tokens
            (B, h·w, C) without CLS and registers, or maps (B, C, h', w').
        embedding: pixels -> (B, D) image embedding by the library.
        text: sentences -> (N, D) text embeddings by the library; None without a text encoder.
        sizes: (H, W) of the inputs to compare at; the first is the backbone's own.
        described: what is known of it without its weights.
        refused_by: runtimes that cannot hold its pass, at one of the sizes.
    """

    backbone: Backbone
    hidden_states: Callable[[torch.Tensor], Sequence[torch.Tensor]] | None = None
    embedding: Callable[[torch.Tensor], torch.Tensor] | None = None
    text: Callable[[list[str]], torch.Tensor] | None = None
    sizes: Sequence[tuple[int, int]] = ()
    described: BackboneInfo | None = None
    refused_by: Sequence[str] = ()

    @property
    def info(self) -> BackboneInfo:
        return self.backbone.info

    def pixels(self, size: tuple[int, int] | None = None, images: int = 2) -> torch.Tensor:
        """Noise of a size; None is the backbone's own."""
        side = self.info.image_size
        generator = torch.Generator().manual_seed(1)
        return torch.randn(images, 3, *(size or (side, side)), generator=generator)

    def run(self, pixels: torch.Tensor, **options):
        """A pass with all blocks and the embedding."""
        taps = [(None, block) for block in range(1, self.info.depth + 1)]
        options = {"taps": taps, "pos_embed": self.info.pos_embed} | options
        return self.backbone.forward(pixels, **options)

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        found = self.backbone.forward(pixels, pos_embed=self.info.pos_embed)
        return self.backbone.vision.embed_image(found.last)


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Weights under which every part of a model shows in its output; the model itself."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in sorted(model.named_parameters()):
        noise = torch.randn(weight.shape, generator=generator)
        if weight.ndim < 2 or min(weight.shape) == 1:  # biases, norms, scales, single tokens
            weight.copy_(0.2 * noise + (1.0 if "weight" in name or "scale" in name else 0.0))
        else:
            weight.copy_(noise / weight[0].numel() ** 0.5)
    for _, buffer in sorted(model.named_buffers()):
        if buffer.is_floating_point() and buffer.ndim == 1 and "running" in _:
            buffer.copy_(1 + 0.2 * torch.rand(buffer.shape, generator=generator))
    return model.eval()


def close(found: torch.Tensor, expected: torch.Tensor, part: float = NEAR) -> None:
    """Equal to a part of the largest value."""
    scale = max(1.0, expected.detach().abs().max().item())
    torch.testing.assert_close(found, expected, atol=part * scale, rtol=0)
