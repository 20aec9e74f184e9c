"""A transformer block as functions over the modules of another library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from vlad.types import Activation

Map = Callable[[torch.Tensor], torch.Tensor]
Turn = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def gelu(x: torch.Tensor) -> torch.Tensor:
    """GELU; it overwrites x unless a gradient needs it: new memory costs more than the sum."""
    return F.gelu(x) if x.requires_grad else torch.ops.aten.gelu_(x)


def quick_gelu(x: torch.Tensor) -> torch.Tensor:
    """x · σ(1.702 x), the approximation of GELU in OpenAI's CLIP.

    It overwrites x unless a gradient needs it.
    """
    if x.requires_grad:
        return torch.sigmoid(1.702 * x) * x
    return F.silu(x.mul_(1.702), inplace=True).div_(1.702)


def plus(branch: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """branch + x in the type of x; it overwrites the branch unless a gradient needs it."""
    branch = branch.to(x.dtype)
    return branch + x if branch.requires_grad or x.requires_grad else branch.add_(x)


ACTIVATIONS: dict[Activation, Map] = {"gelu": gelu, "quick_gelu": quick_gelu}
# number of tokens up to which products beat torch's attention kernel in bfloat16 on a CPU
SHORT = 256


def identity(x: torch.Tensor) -> torch.Tensor:
    return x


def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, seen: torch.Tensor | None = None
) -> torch.Tensor:
    """Scaled dot-product attention over (B, H, N, d), like torch's.

    With few tokens on a CPU, torch's kernel gains nothing from bfloat16, but products do.
    """
    short = q.dtype == torch.bfloat16 and q.device.type == "cpu" and k.shape[-2] <= SHORT
    if not short or seen is not None or q.requires_grad:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    flat = [t.flatten(0, 1) for t in (q, k, v)]
    zero = q.new_zeros(())
    logits = torch.baddbmm(zero, flat[0], flat[1].mT, beta=0, alpha=q.shape[-1] ** -0.5)
    return (logits.softmax(dim=-1) @ flat[2]).unflatten(0, q.shape[:2])


def turn_halves(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Rotary positions that pair channel i with channel i + d/2 (DINOv3); see `Block.turn`."""
    one, other = x.chunk(2, dim=-1)
    return _turned(x, torch.cat([-other, one], dim=-1), angles)


def turn_neighbours(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Rotary positions that pair channel 2i with channel 2i + 1 (EVA-02, PE); see `Block.turn`."""
    return _turned(x, torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2), angles)


def _turned(x: torch.Tensor, across: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    sine, cosine = angles.to(x.dtype).unsqueeze(-4).unbind(dim=-2)
    return x * cosine + across * sine


@dataclass(frozen=True)
class Block:
    """One pre-norm transformer block, as functions on (B, N, C) tokens.

    Attributes:
        ln_1, ln_2: the layer norms before attention and before the MLP.
        qkv: tokens -> (q, k, v), each (B, N, C).
        out: the projection after attention.
        heads: number of attention heads.
        mlp: (tokens, activation or None for its own) -> tokens.
        scale_1, scale_2: layer scale of the two branches, if the backbone has it.
        projections: () -> weight (C, C) and bias (or None) of each of q, k, v and the projection
            after attention, if q, k and v are plain linear maps, which makes `first` fast.
        turn: rotary positions: queries or keys (B, H, N, d) and their angles (N, 2, d) or
            (B, N, 2, d), sine before cosine -> the same turned; None without them.
    """

    ln_1: Map
    qkv: Callable[[torch.Tensor], Sequence[torch.Tensor]]
    out: Map
    heads: int
    ln_2: Map
    mlp: Callable[[torch.Tensor, Map | None], torch.Tensor]
    scale_1: Map = identity
    scale_2: Map = identity
    projections: Callable[[], Sequence[tuple[torch.Tensor, torch.Tensor | None]]] | None = None
    turn: Turn | None = None

    def __call__(
        self,
        x: torch.Tensor,
        activation: Map | None,
        seen: torch.Tensor | None = None,
        angles: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Run the block on all tokens; `seen` and `angles` as in `mix`."""
        q, k, v = self.qkv(self.ln_1(x))
        return self.finish(x, self.mix(q, k, v, seen, angles), activation)

    def first(
        self, x: torch.Tensor, activation: Map | None, angles: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, 1, C): only the first token, after the block.

        A single query needs neither keys nor values: q·(Kx) is (Kᵀq)·x, Σ aᵢ(Vxᵢ) is V(Σ aᵢxᵢ), and
        a bias of the keys adds the same to all logits. Two small products replace two over all
        tokens.
        """
        if self.projections is None or angles is not None:
            return self(x, activation, angles=angles)[:, :1]
        tokens = self.ln_1(x)
        (to_q, bias), (to_k, _), (to_v, shift), _ = self.projections()
        split = (self.heads, len(to_q) // self.heads)
        q = F.linear(tokens[:, 0].to(to_q.dtype), to_q, bias).unflatten(-1, split).transpose(0, 1)
        sought = (q @ to_k.unflatten(0, split)).transpose(0, 1).to(tokens.dtype)
        logits = sought @ tokens.transpose(1, 2) / split[1] ** 0.5
        mixed = (logits.softmax(dim=-1) @ tokens).transpose(0, 1).to(to_v.dtype)
        v = (mixed @ to_v.unflatten(0, split).transpose(1, 2)).transpose(0, 1).flatten(1)
        v = v if shift is None else v + shift
        return self.finish(x[:, :1], v[:, None], activation)

    def mix(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        seen: torch.Tensor | None = None,
        angles: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attention without its output projection; q (B, M, C), k and v (B, N, C).

        Args:
            seen: (M, N) bool, whether a token of q attends to one of k; None attends to all.
            angles: rotary positions of the tokens of k, as `turn` takes them; q has the first M.
        """
        q, k, v = map(self._of_heads, (q, k, v))
        if self.turn is not None and angles is not None:
            q, k = self.turn(q, angles[..., : q.shape[2], :, :]), self.turn(k, angles)
        return attention(q, k, v, seen).transpose(1, 2).flatten(2)

    def attended(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        readers: slice,
        angles: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(B, N, 1) how much some tokens attend to each, mean over heads and these tokens.

        Args:
            q, k: (B, N, C).
            readers: those tokens.
            angles: as in `mix`.
        """
        q, k = map(self._of_heads, (q[:, readers].float(), k.float()))
        if self.turn is not None and angles is not None:
            q, k = self.turn(q, angles[..., readers, :, :]), self.turn(k, angles)
        logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        return logits.softmax(dim=-1).mean(dim=(1, 2))[..., None]

    def _of_heads(self, x: torch.Tensor) -> torch.Tensor:
        """(B, N, C) -> (B, H, N, d)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def attend(self, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """x after the attention branch."""
        return plus(self.scale_1(self.out(mixed)), x)

    def finish(self, x: torch.Tensor, mixed: torch.Tensor, activation: Map | None) -> torch.Tensor:
        """x after both branches."""
        x = self.attend(x, mixed)
        return plus(self.scale_2(self.mlp(self.ln_2(x), activation)), x)


def recompute(step: Callable, *args):
    """`step(*args)`, recomputing intermediate values for the gradient instead of storing them."""
    return checkpoint(step, *args, use_reentrant=False)


def run(step: Callable, *args):
    """`step(*args)`."""
    return step(*args)
