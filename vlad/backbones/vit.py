"""The one forward pass of vlad: a vision transformer over the modules of another library.

It returns any set of blocks, runs extra attention streams beside the ordinary one, and embeds
windows of patches, whatever library holds the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from vlad.errors import BackboneError
from vlad.types import Activation, PosEmbedResize, Stream

Map = Callable[[torch.Tensor], torch.Tensor]


def gelu(x: torch.Tensor) -> torch.Tensor:
    """GELU; it overwrites x unless a gradient needs it, as new memory costs more than the sum."""
    return F.gelu(x) if x.requires_grad else torch.ops.aten.gelu_(x)


def quick_gelu(x: torch.Tensor) -> torch.Tensor:
    """x · σ(1.702 x), the approximation of GELU that OpenAI's CLIP was trained with.

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
# windows embedded at once: bounds the memory of a window pass without slowing it
WINDOW_CHUNK = 1024
# tokens up to which products beat torch's attention kernel in bfloat16 on a CPU
SHORT = 256


def identity(x: torch.Tensor) -> torch.Tensor:
    return x


def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, seen: torch.Tensor | None = None
) -> torch.Tensor:
    """Scaled dot-product attention over (B, H, N, d), as torch's own.

    On a CPU torch's kernel gains nothing from bfloat16 where tokens are few; products do.
    """
    short = q.dtype == torch.bfloat16 and q.device.type == "cpu" and k.shape[-2] <= SHORT
    if not short or seen is not None or q.requires_grad:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    flat = [t.flatten(0, 1) for t in (q, k, v)]
    zero = q.new_zeros(())
    logits = torch.baddbmm(zero, flat[0], flat[1].mT, beta=0, alpha=q.shape[-1] ** -0.5)
    return (logits.softmax(dim=-1) @ flat[2]).unflatten(0, q.shape[:2])


@dataclass(frozen=True)
class Block:
    """One pre-norm transformer block, as functions on (B, N, C) tokens.

    Attributes:
        ln_1, ln_2: the layer norms before attention and before the MLP.
        qkv: tokens -> (q, k, v), each (B, N, C).
        projections: () -> the weight (C, C) and the bias, or None, behind each of q, k and v.
        out: the projection after attention.
        heads: number of attention heads.
        mlp: (tokens, activation or None for its own) -> tokens.
        scale_1, scale_2: layer scale of the two branches, where the tower has it.
    """

    ln_1: Map
    qkv: Callable[[torch.Tensor], Sequence[torch.Tensor]]
    projections: Callable[[], Sequence[tuple[torch.Tensor, torch.Tensor | None]]]
    out: Map
    heads: int
    ln_2: Map
    mlp: Callable[[torch.Tensor, Map | None], torch.Tensor]
    scale_1: Map = identity
    scale_2: Map = identity

    def __call__(
        self,
        x: torch.Tensor,
        activation: Map | None,
        seen: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The block on all tokens; `seen` as in `attend`."""
        return self.feed(plus(self.attend(*self.qkv(self.ln_1(x)), seen), x), activation)

    def first(self, x: torch.Tensor, activation: Map | None) -> torch.Tensor:
        """(B, 1, C): the first token alone behind the block.

        A single query needs neither keys nor values: q·(Kx) is (Kᵀq)·x, Σ aᵢ(Vxᵢ) is V(Σ aᵢxᵢ), and
        a bias of the keys adds the same to all logits. That is two small products in place of two
        over all tokens.
        """
        tokens = self.ln_1(x)
        (to_q, bias), (to_k, _), (to_v, shift) = self.projections()
        split = (self.heads, len(to_q) // self.heads)
        q = F.linear(tokens[:, 0].to(to_q.dtype), to_q, bias).unflatten(-1, split).transpose(0, 1)
        sought = (q @ to_k.unflatten(0, split)).transpose(0, 1).to(tokens.dtype)
        logits = sought @ tokens.transpose(1, 2) / split[1] ** 0.5
        mixed = (logits.softmax(dim=-1) @ tokens).transpose(0, 1).to(to_v.dtype)
        v = (mixed @ to_v.unflatten(0, split).transpose(1, 2)).transpose(0, 1).flatten(1)
        v = v if shift is None else v + shift
        return self.feed(plus(self.scale_1(self.out(v))[:, None], x[:, :1]), activation)

    def attend(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        seen: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The attention branch without its residual; q (B, M, C), k and v (B, N, C).

        Args:
            seen: (M, N) bool, whether a token of q attends to one of k; None is to all.
        """
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        mixed = attention(q, k, v, seen).transpose(1, 2).flatten(2)
        return self.scale_1(self.out(mixed))

    def feed(self, x: torch.Tensor, activation: Map | None) -> torch.Tensor:
        """The MLP branch with its residual."""
        return plus(self.scale_2(self.mlp(self.ln_2(x), activation)), x)


def recompute(step: Callable, *args):
    """`step(*args)`, whose values on the way are computed anew for the gradient, not kept."""
    return checkpoint(step, *args, use_reentrant=False)


def run(step: Callable, *args):
    """`step(*args)`."""
    return step(*args)


@dataclass(frozen=True)
class Taps:
    """What one pass recorded.

    Attributes:
        patches: (stream or None, block) -> (B, h·w, C) raw patch tokens.
        last: (B, 1 + h·w, C) output of the last block (no first token without CLS), or None;
            (B, 1, C) where CLS is all that was asked of it.
        windows: side k -> (B, n, D) projected window embeddings.
        grid: (h, w).
    """

    patches: dict[tuple[Stream | None, int], torch.Tensor]
    last: torch.Tensor | None
    windows: dict[int, torch.Tensor]
    grid: tuple[int, int]


@dataclass
class VisionTransformer:
    """A vision transformer as parts; the modules stay those of the library that loaded them.

    Attributes:
        patch_embed: (B, 3, H, W) -> (B, C, h, w).
        patch_size: pixels a side of one patch.
        cls: (C,) class token, or None.
        pos: (prefix + g·g, C) positional embeddings, prefix = 1 with a class token.
        ln_pre, ln_post, proj: identity where the tower has none.
        blocks: in order.
        pool: replaces "ln_post of CLS" where the tower pools otherwise: (B, N, C) -> (B, C').
        call: how a block is run, `run` or `recompute`.
    """

    patch_embed: Map
    patch_size: int
    cls: torch.Tensor | None
    pos: torch.Tensor
    ln_pre: Map
    blocks: Sequence[Block]
    ln_post: Map
    proj: Map
    pool: Map | None = None
    call: Callable = run
    _resized: dict = field(default_factory=dict, repr=False)

    @property
    def prefix(self) -> int:
        return 0 if self.cls is None else 1

    def embed_image(self, last: torch.Tensor, ln_post: bool = True) -> torch.Tensor:
        """(B, N, C) output of the last block -> (B, D) image embedding, unnormalised."""
        if self.pool is not None:
            return self.proj(self.pool(last))
        return self.proj(self.ln_post(last[:, 0]) if ln_post else last[:, 0])

    def __call__(
        self,
        pixels: torch.Tensor,
        *,
        taps: Iterable[tuple[Stream | None, int]] = (),
        windows: Iterable[int] = (),
        image: bool = True,
        activation: Activation | None = None,
        pos_embed: PosEmbedResize = "bicubic_antialias",
        prompts: Mapping[int, torch.Tensor] | None = None,
    ) -> Taps:
        """One pass over (B, 3, H, W) normalised pixels; see FeatureSpec for the options.

        Args:
            prompts: block -> (B, k, C) tokens put behind the others before it, in place of those
                of an earlier block.

        Raises:
            BackboneError: a size that patches do not fill, or a block the tower does not have.
        """
        taps = set(taps)
        act = ACTIVATIONS[activation] if activation else None
        windows = tuple(windows)
        self.check(pixels.shape[-2:], taps, windows)
        tokens, grid = self._embed(pixels, pos_embed)
        depth = len(self.blocks) if image else max((layer for _, layer in taps), default=0)

        only_cls = self.pool is None and (None, depth) not in taps and depth == len(self.blocks)

        found: dict[tuple[Stream | None, int], torch.Tensor] = {}
        streams = {stream: torch.zeros_like(tokens) for stream, _ in taps if stream}
        x = self.ln_pre(tokens)
        own = x.shape[1]
        prompts = prompts or {}
        for number, block in enumerate(self.blocks[:depth], start=1):
            if number in prompts:
                x = torch.cat([x[:, :own], prompts[number].to(x.dtype)], dim=1)
            first = only_cls and number == depth
            x, streams = self.call(_step, number, block, x, streams, act, first)
            for stream, layer in taps:
                if layer == number:
                    found[stream, layer] = (streams[stream] if stream else x)[:, self.prefix : own]
        return Taps(
            patches=found,
            last=x[:, :own] if image else None,
            windows={k: self._windows(tokens, grid, k, act) for k in windows},
            grid=grid,
        )

    def check(
        self,
        size: tuple[int, int],
        taps: Iterable[tuple[Stream | None, int]],
        windows: Iterable[int] = (),
    ) -> None:
        """Whether a pass over inputs of `size` (H, W) can give these taps and windows.

        Raises:
            BackboneError: a size that patches do not fill, a block the tower does not have, or a
                window larger than the grid.
        """
        height, width = size
        if height % self.patch_size or width % self.patch_size:
            raise BackboneError(
                f"An input of {height}×{width} pixels is not a multiple of this tower's "
                f"{self.patch_size}-pixel patches; choose another image size."
            )
        for _, layer in taps:
            if not 1 <= layer <= len(self.blocks):
                raise BackboneError(
                    f"Block {layer} was asked for, but this tower has blocks 1 to "
                    f"{len(self.blocks)}; choose other layers."
                )
        for side in windows:
            window_patches((height // self.patch_size, width // self.patch_size), side)

    def _embed(
        self, pixels: torch.Tensor, pos_embed: PosEmbedResize
    ) -> tuple[torch.Tensor, tuple[int, int]]:
        """Tokens with positions, before ln_pre, and the grid."""
        x = self.patch_embed(pixels)
        grid = (x.shape[-2], x.shape[-1])
        x = x.flatten(2).transpose(1, 2)
        if self.cls is not None:
            x = torch.cat([self.cls.to(x.dtype).expand(len(x), 1, -1), x], dim=1)
        return x + self._positions(grid, pos_embed).to(x.dtype), grid

    def _positions(self, grid: tuple[int, int], mode: PosEmbedResize) -> torch.Tensor:
        side = round((len(self.pos) - self.prefix) ** 0.5)
        if grid == (side, side):
            return self.pos
        if (grid, mode) not in self._resized:
            table = self.pos[self.prefix :].float().T.reshape(1, -1, side, side)
            table = F.interpolate(
                table,
                size=grid,
                mode="bilinear" if mode == "bilinear" else "bicubic",
                antialias=mode == "bicubic_antialias",
                align_corners=False,
            )
            self._resized[grid, mode] = torch.cat([self.pos[: self.prefix], table[0].flatten(1).T])
        return self._resized[grid, mode]

    def _windows(
        self, tokens: torch.Tensor, grid: tuple[int, int], side: int, act: Map | None
    ) -> torch.Tensor:
        """(B, n, D): each window alone in the tower, with CLS and its own positions (WinCLIP)."""
        index = window_patches(grid, side).to(tokens.device) + self.prefix
        if self.prefix:
            index = torch.cat([index.new_zeros(len(index), 1), index], dim=1)
        first = self.blocks[0]
        x = self.ln_pre(tokens)
        # the norms and projections before the first attention see single tokens: computed once
        q, k, v = first.qkv(first.ln_1(x))
        out = []
        for start in range(0, len(index), max(1, WINDOW_CHUNK // len(x))):
            part = index[start : start + max(1, WINDOW_CHUNK // len(x))]
            xw, qw, kw, vw = (t[:, part].flatten(0, 1) for t in (x, q, k, v))
            xw = first.feed(plus(first.attend(qw, kw, vw), xw), act)
            for block in self.blocks[1:-1]:
                xw = block(xw, act)
            if len(self.blocks) > 1:
                last = self.blocks[-1]
                xw = last.first(xw, act) if self.pool is None else last(xw, act)
            out.append(self.embed_image(xw).unflatten(0, (len(x), -1)))
        return torch.cat(out, dim=1)


def _step(
    number: int,
    block: Block,
    x: torch.Tensor,
    streams: Mapping[Stream, torch.Tensor],
    act: Map | None,
    first: bool,
) -> tuple[torch.Tensor, Mapping[Stream, torch.Tensor]]:
    """The ordinary stream, of its first token alone or all, and the extra ones behind a block."""
    if not streams:
        return (block.first if first else block)(x, act), streams
    q, k, v = block.qkv(block.ln_1(x))
    moved = dict(streams)
    for stream, state in streams.items():
        if number < stream.first_block:
            continue
        if number == stream.first_block or number in stream.restart:
            state = x if stream.start == "input" else torch.zeros_like(x)
        same = {"qq": q, "kk": k, "vv": v}[stream.kind]
        moved[stream] = plus(block.attend(same, same, v), state)
    own = 1 if first else None
    return block.feed(plus(block.attend(q[:, :own], k, v), x[:, :own]), act), moved


def window_patches(grid: tuple[int, int], side: int) -> torch.Tensor:
    """Indices (n, side²) of the patches in every side×side window, stride 1, row-major.

    Raises:
        BackboneError: a window larger than the grid.
    """
    height, width = grid
    if side > min(grid):
        raise BackboneError(
            f"A window of {side}×{side} patches does not fit a grid of {height}×{width}; "
            "choose a larger image size."
        )
    patches = torch.arange(height * width).reshape(height, width)
    return patches.unfold(0, side, 1).unfold(1, side, 1).reshape(-1, side * side)
