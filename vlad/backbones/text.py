"""The text tower's forward pass, with learned tokens in place of words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from vlad.backbones.vit import ACTIVATIONS, Block, Map, run
from vlad.errors import HeadError
from vlad.types import Activation

# a word that is one token of CLIP's vocabulary, where learned words stand in its place
PLACEHOLDER = "X"


@dataclass
class TextTransformer:
    """CLIP's causal text transformer as parts; the modules stay those of the library.

    Attributes:
        tokenize: N sentences -> (N, L) token ids.
        end: (N, L) token ids -> (N,) places of the end-of-text token, whose output is kept.
        embed: token ids -> (N, L, T).
        pos: (context length, T) positional embeddings.
        blocks: in order.
        ln_final, proj: applied to the kept token.
        call: how a block is run, as in `VisionTransformer`.
    """

    tokenize: Callable[[Sequence[str]], torch.Tensor]
    end: Callable[[torch.Tensor], torch.Tensor]
    embed: Map
    pos: torch.Tensor
    blocks: Sequence[Block]
    ln_final: Map
    proj: Map
    call: Callable = run

    def __call__(
        self,
        sentences: Sequence[str],
        *,
        activation: Activation | None = None,
        context: torch.Tensor | None = None,
        deep: Mapping[int, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """(N, D) projected, unnormalised embeddings; see TextSpec for the options.

        What follows the end of the longest sentence is cut off: attention is causal, so nothing
        that is kept depends on it.
        """
        words = 0 if context is None else len(context)
        if words:
            sentences = [" ".join([PLACEHOLDER] * words + [sentence]) for sentence in sentences]
        ids = self.tokenize(sentences).to(self.pos.device)
        end = self.end(ids)
        ids = ids[:, : int(end.max()) + 1]
        x = self.embed(ids)
        if words:
            learned = context.to(x).expand(len(x), -1, -1)
            x = torch.cat([x[:, :1], learned, x[:, 1 + words :]], dim=1)
        x = x + self.pos[: ids.shape[1]].to(x.dtype)
        act = ACTIVATIONS[activation] if activation else None
        for number, block in enumerate(self.blocks, start=1):
            if deep and number in deep:
                learned = deep[number].to(x).expand(len(x), -1, -1)
                # places behind the longest sentence are cut off
                learned = learned[:, : x.shape[1] - 1]
                x = torch.cat([x[:, :1], learned, x[:, 1 + learned.shape[1] :]], dim=1)
            x = self.call(_step, block, x, act)
        return self.proj(self.ln_final(x[torch.arange(len(x), device=x.device), end]))


def _step(block: Block, x: torch.Tensor, act: Map | None) -> torch.Tensor:
    return block.feed(x + block.attend(*block.qkv(block.ln_1(x)), causal=True), act)


@dataclass
class PlainText:
    """A text tower read as its library does, for those whose inside differs from CLIP's.

    Attributes:
        encode: N sentences -> (N, D) unnormalised embeddings.
    """

    encode: Callable[[Sequence[str]], torch.Tensor]

    def __call__(self, sentences: Sequence[str], **learned: object) -> torch.Tensor:
        """(N, D) embeddings.

        Raises:
            HeadError: learned tokens or another activation were asked for.
        """
        if any(value is not None for value in learned.values()):
            raise HeadError(
                "The head puts learned tokens into the text tower, and this one takes none; choose "
                "a CLIP tower with --backbone."
            )
        return self.encode(sentences)


def first_largest(ids: torch.Tensor) -> torch.Tensor:
    """Places of the end-of-text token, the largest id of CLIP's vocabulary."""
    return ids.argmax(dim=-1)
