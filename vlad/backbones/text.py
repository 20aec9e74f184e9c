"""The text encoder's forward pass, with learned tokens instead of words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from vlad.backbones.block import ACTIVATIONS, Block, Map, run
from vlad.backbones.tokens import Context
from vlad.errors import HeadError
from vlad.types import Activation

# a word of one token in CLIP's vocabulary, replaced by a learned token
PLACEHOLDER = "X"


@dataclass
class TextTransformer:
    """CLIP's causal text transformer as parts; the modules stay those of the library.

    Attributes:
        tokenize: N sentences -> (N, L) token ids.
        end: (N, L) token ids -> (N,) positions of the end-of-text token, whose output is kept.
        embed: token ids -> (N, L, T).
        pos: (context length, T) positional embeddings.
        blocks: in order.
        ln_final, proj: applied to the kept token.
        call: how to run a block, as in `VisionTransformer`.
        context: longest sentence in tokens.
    """

    tokenize: Callable[[Sequence[str]], torch.Tensor]
    end: Callable[[torch.Tensor], torch.Tensor]
    embed: Map
    pos: torch.Tensor
    blocks: Sequence[Block]
    ln_final: Map
    proj: Map
    call: Callable = run
    context: Context | None = None

    def __call__(
        self,
        sentences: Sequence[str],
        *,
        activation: Activation | None = None,
        context: torch.Tensor | None = None,
        deep: Mapping[int, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """(N, D) projected, unnormalised embeddings; see TextSpec for the options.

        With the words (B, m, T) of B images as `context` they are (B, N, D).

        Attention is causal: a token depends only on those before it. So common beginnings of
        sentences are computed once, tokens after the end not at all, and all others form one
        sequence in which each attends to those before it in its own sentences.
        """
        words = 0 if context is None else context.shape[-2]
        if words:
            sentences = [" ".join([PLACEHOLDER] * words + [sentence]) for sentence in sentences]
        ids = self.tokenize(sentences)
        tokens, places, seen, ends = share(ids, self.end(ids))
        device = self.pos.device
        places, seen = places.to(device), seen.to(device)
        x = self.embed(tokens.to(device))[None]
        if context is not None:
            each = len(context) if context.ndim == 3 else 1
            x = overwrite(x.expand(each, -1, -1), places, context)
        x = x + self.pos[places].to(x.dtype)
        act = ACTIVATIONS[activation] if activation else None
        for number, block in enumerate(self.blocks, start=1):
            if deep and number in deep:
                x = overwrite(x, places, deep[number])
            x = self.call(block, x, act, seen)
        found = self.proj(self.ln_final(x[:, ends.to(device)]))
        return found if context is not None and context.ndim == 3 else found[0]


def share(
    ids: torch.Tensor, end: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The tokens (M,) of N sentences with common beginnings merged, as a tree with one root.

    Args:
        ids: (N, L) token ids.
        end: (N,) positions of the last token used.

    Returns:
        Token ids (M,), their positions in a sentence (M,), whether one attends to another (M, M),
        and the last token of each sentence (N,).
    """
    found: dict[tuple[int, int], int] = {}
    tokens: list[int] = []
    places: list[int] = []
    lines: list[list[int]] = []
    ends: list[int] = []
    for row, last in zip(ids.tolist(), end.tolist(), strict=True):
        line: list[int] = []
        for place, token in enumerate(row[: last + 1]):
            node = found.setdefault((line[-1] if line else -1, token), len(found))
            line.append(node)
            if node == len(tokens):
                tokens.append(token)
                places.append(place)
                lines.append(line.copy())
        ends.append(line[-1])
    seen = torch.zeros(len(tokens), len(tokens), dtype=torch.bool)
    for node, line in enumerate(lines):
        seen[node, line] = True
    return torch.tensor(tokens), torch.tensor(places), seen, torch.tensor(ends)


def overwrite(x: torch.Tensor, places: torch.Tensor, learned: torch.Tensor) -> torch.Tensor:
    """(B, M, T) tokens with the learned ones, (k, T) or (B, k, T), at positions 1 to k of every
    sentence."""
    at = ((places > 0) & (places <= learned.shape[-2])).nonzero()[:, 0]
    return x.index_copy(1, at, learned.to(x)[..., places[at] - 1, :].expand(len(x), -1, -1))


@dataclass
class PlainText:
    """A text encoder run by its own library, for those with another structure than CLIP's.

    Attributes:
        encode: N sentences -> (N, D) unnormalised embeddings.
        context: how long sentences may be.
        learned: the same with learned words (m, T) before every sentence; None refuses them.
    """

    encode: Callable[[Sequence[str]], torch.Tensor]
    context: Context | None = None
    learned: Callable[[Sequence[str], torch.Tensor], torch.Tensor] | None = None

    def __call__(
        self, sentences: Sequence[str], *, context: torch.Tensor | None = None, **further: object
    ) -> torch.Tensor:
        """(N, D) embeddings.

        Raises:
            HeadError: learned tokens or another activation are given.
        """
        refused = context is not None and self.learned is None
        if refused or any(value is not None for value in further.values()):
            raise HeadError(
                "The head puts learned tokens into the text encoder, but this one does not accept "
                "them; choose a CLIP `backbone`."
            )
        if context is None:
            return self.encode(sentences)
        assert self.learned is not None  # refused above
        return self.learned(sentences, context)


def first_largest(ids: torch.Tensor) -> torch.Tensor:
    """Positions of the end-of-text token, the largest id of CLIP's vocabulary."""
    return ids.argmax(dim=-1)
