"""The modules of vlad-tiny: a frozen convolutional network, and small transformers that read it.

Patch tokens are features of EfficientNet-Lite, of unit length for each stage used. Behind them each
token has channels that three transformer blocks, trained by us, read and write; they hold what is
compared with words. The features pass through the blocks unchanged, so heads that compare patch
tokens compare features of ImageNet, and windows, attention streams and learned tokens work as in
any vision transformer.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn

from vlad.backbones.block import Block, Map
from vlad.backbones.efficientnet import STEM, EfficientNetLite
from vlad.backbones.generic import on_grid
from vlad.backbones.modules import block_of
from vlad.backbones.plain import Transformer, parameter

SIDE = 256  # pixels a side of the input
PATCH = 16  # pixels between patch tokens
STAGES = (3, 5, 7)  # of the convolutional network
PYRAMID = (0, 2, 3, 5, 7)  # the same, the last of each stride; 0 is the stem
WIDTH, HEADS, DEPTH = 192, 4, 3  # of the channels for words
JOINT = 128  # dimensions shared with text
TEXT = SimpleNamespace(width=128, heads=2, layers=3, mlp_ratio=4.0, context=77, vocabulary=49408)
# of the channels for words beside features: too small to change a distance between tokens
SHARE = 2.0**-8


class Tiny(nn.Module):
    """The tensors of vlad-tiny, without values until a state dict is loaded.

    Those of the text encoder have open_clip's names.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cnn = EfficientNetLite()
        self.features = sum(self.cnn.channels[n - 1] for n in STAGES)
        self.widths = (STEM, *(self.cnn.channels[n - 1] for n in PYRAMID[1:]))
        with torch.device("meta"):
            self.embed = nn.Linear(self.features, WIDTH)
            self.class_embedding = parameter(WIDTH)
            self.visual = Transformer(WIDTH, DEPTH, HEADS, 4.0, nn.GELU)
            self.ln_post = nn.LayerNorm(WIDTH)
            self.proj = parameter(WIDTH, JOINT)
            self.transformer = Transformer(
                TEXT.width, TEXT.layers, TEXT.heads, TEXT.mlp_ratio, nn.GELU
            )
            table = torch.empty(TEXT.vocabulary, TEXT.width)
            self.token_embedding = nn.Embedding(TEXT.vocabulary, TEXT.width, _weight=table)
            self.positional_embedding = parameter(TEXT.context, TEXT.width)
            self.ln_final = nn.LayerNorm(TEXT.width)
            self.text_projection = parameter(TEXT.width, JOINT)

    def stages(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) normalised pixels -> (B, F, h, w) features, each stage of unit length."""
        # numbers, for graphs: a size that is traced is none
        grid = (int(pixels.shape[-2]) // PATCH, int(pixels.shape[-1]) // PATCH)
        found = self.cnn(pixels, STAGES)
        return torch.cat([F.normalize(on_grid(found[n], grid), dim=1) for n in STAGES], dim=1)

    def pyramid(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Maps of the convolutional network at strides 2 (its stem), 4, 8, 16 and 32."""
        found = self.cnn(pixels, PYRAMID)
        return tuple(found[n] for n in PYRAMID)

    def patch_embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) normalised pixels -> (B, F + 192, h, w) tokens."""
        return self.with_words(self.stages(pixels).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def with_words(self, features: torch.Tensor) -> torch.Tensor:
        """(..., F) features -> (..., F + 192) tokens before the first block."""
        return torch.cat([features, SHARE * self.embed(features)], dim=-1)

    @property
    def cls(self) -> torch.Tensor:
        """(F + 192,) class token: it has no features of its own."""
        return self._behind(self.class_embedding)

    def blocks(self) -> list[Block]:
        """The transformer blocks, on whole tokens."""
        found = [block_of(block) for block in self.visual.resblocks]
        return [
            replace(
                block,
                ln_1=partial(self._read, block.ln_1),
                ln_2=partial(self._read, block.ln_2),
                scale_1=self._behind,
                scale_2=self._behind,
            )
            for block in found
        ]

    def norm(self, tokens: torch.Tensor) -> torch.Tensor:
        """(..., F + 192) the last norm, of the channels for words; features stay as they are."""
        words = SHARE * self._read(self.ln_post, tokens)
        return torch.cat([tokens[..., : self.features], words], dim=-1)

    def project(self, tokens: torch.Tensor) -> torch.Tensor:
        """(..., F + 192) -> (..., 128) in the space of text."""
        return tokens[..., self.features :] / SHARE @ self.proj

    def _read(self, norm: Map, tokens: torch.Tensor) -> torch.Tensor:
        return norm(tokens[..., self.features :] / SHARE)

    def _behind(self, words: torch.Tensor) -> torch.Tensor:
        return F.pad(SHARE * words.float(), (self.features, 0))
