"""The forward pass of vlad: a vision transformer over the modules of another library.

It returns any set of blocks, runs extra attention streams beside the ordinary one, and embeds
windows of patches, for weights from any library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from vlad.backbones.block import ACTIVATIONS, Block, Map, run
from vlad.backbones.windows import pass_windows, window_patches
from vlad.errors import BackboneError
from vlad.types import Activation, PosEmbedResize, Stream


@dataclass(frozen=True)
class Taps:
    """The outputs of one pass.

    Attributes:
        patches: (stream or None, block) -> (B, h·w, C) raw patch tokens.
        last: (B, P + h·w, C) output of the last block, with P tokens (CLS, registers) before the
            patches, or None; (B, 1, C) if only CLS is needed.
        windows: side k -> (B, n, D) projected window embeddings.
        grid: (h, w).
        cls: (stream or None, block) -> (B, C) raw class tokens, or the mean of the patch tokens
            where the backbone has none.
    """

    patches: dict[tuple[Stream | None, int], torch.Tensor]
    last: torch.Tensor | None
    windows: dict[int, torch.Tensor]
    grid: tuple[int, int]
    cls: dict[tuple[Stream | None, int], torch.Tensor] = field(default_factory=dict)


# (B, 3, H, W) pixels -> maps (B, C, H / s, W / s) at strides s of 2, 4, 8, 16 and 32
Pyramid = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]


@dataclass
class VisionTransformer:
    """A vision transformer as parts; the modules stay those of the library that loaded them.

    Attributes:
        patch_embed: (B, 3, H, W) -> (B, C, h, w).
        patch_size: side of a patch in pixels.
        cls: (C,) class token, or None.
        pos: (1 + g·g, C) positional embeddings, the first that of the class token, or (g·g, C)
            without one; None if there are only rotary ones.
        ln_pre, ln_post, proj: identity if the backbone has none.
        blocks: in order.
        pool: replaces "ln_post of CLS" if the backbone pools differently: (B, N, C) -> (B, C').
        registers: (R, C) tokens without positions between the class token and the patches, or None.
        rope: grid -> (h·w, 2, d) angles of the patches, as `Block.turn` takes them, or None.
        call: how to run a block, `run` or `recompute`.
        pyramid: maps of the convolutional network that patches come from; None without one.
    """

    patch_embed: Map
    patch_size: int
    cls: torch.Tensor | None
    pos: torch.Tensor | None
    ln_pre: Map
    blocks: Sequence[Block]
    ln_post: Map
    proj: Map
    pool: Map | None = None
    registers: torch.Tensor | None = None
    rope: Callable[[tuple[int, int]], torch.Tensor] | None = None
    call: Callable = run
    pyramid: Pyramid | None = None
    _resized: dict = field(default_factory=dict, init=False, repr=False)
    _turned: dict = field(default_factory=dict, init=False, repr=False)
    _weights: dict = field(default_factory=dict, init=False, repr=False)

    @property
    def prefix(self) -> int:
        """Number of tokens before the patches."""
        return (self.cls is not None) + (0 if self.registers is None else len(self.registers))

    @property
    def readers(self) -> slice:
        """The tokens whose attention a stream of kind "attention" gives."""
        return slice(
            0 if self.registers is None else self.prefix - len(self.registers), self.prefix
        )

    def embed_image(self, last: torch.Tensor, ln_post: bool = True) -> torch.Tensor:
        """(B, N, C) output of the last block -> (B, D) image embedding, unnormalised."""
        if self.pool is not None:
            return self.proj(self.pool(last))
        return self.proj(self.ln_post(last[:, 0]) if ln_post else last[:, 0])

    def joint(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, N, C) patch tokens of the last block -> (B, N, D), each embedded as an image is."""
        if self.pool is None:
            return self.proj(self.ln_post(tokens))
        return self.proj(self.pool(tokens.flatten(0, 1)[:, None])).unflatten(0, tokens.shape[:2])

    def weights(self, blocks: Sequence[int]) -> dict[str, torch.Tensor]:
        """Linear maps of the attention of these blocks, and `proj`, as `Features.weights`."""
        for number in blocks:
            if f"value.{number}.weight" in self._weights:
                continue
            project = self.blocks[number - 1].projections
            assert project is not None  # the capability says so
            _, _, (value, _), (out, bias) = project()
            self._weights[f"value.{number}.weight"] = value.float()
            self._weights[f"out.{number}.weight"] = out.float()
            bias = out.new_zeros(len(out)) if bias is None else bias
            self._weights[f"out.{number}.bias"] = bias.float()
            if "proj.weight" not in self._weights:
                shift = self.proj(torch.zeros(1, len(value), device=value.device))
                moved = self.proj(torch.eye(len(value), device=value.device))
                self._weights |= {"proj.weight": (moved - shift).T, "proj.bias": shift[0]}
        kept = {"proj", *(f"{part}.{number}" for part in ("value", "out") for number in blocks)}
        return {name: x for name, x in self._weights.items() if name.rpartition(".")[0] in kept}

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
        cls: Iterable[tuple[Stream | None, int]] = (),
    ) -> Taps:
        """One pass over (B, 3, H, W) normalised pixels; see FeatureSpec for the options.

        Args:
            prompts: block -> (B, k, C) tokens appended before it, replacing those of an earlier
                block.
            cls: as `taps`, those whose class token is returned.

        Raises:
            BackboneError: a size that is not a multiple of the patch, or a block that does not
                exist.
        """
        taps, cls = set(taps), set(cls)
        act = ACTIVATIONS[activation] if activation else None
        windows = tuple(windows)
        self.check(pixels.shape[-2:], taps | cls, windows)
        tokens, grid = self._embed(pixels, pos_embed)
        angles = self._angles(grid, tokens)
        if windows and image and not taps | cls and not prompts:
            found, last = pass_windows(self, tokens, grid, windows, act, angles, whole=True)
            return Taps({}, last, found, grid)
        places = taps | cls
        depth = len(self.blocks) if image else max((layer for _, layer in places), default=0)
        if not image and any(_is_next(stream) and layer == depth for stream, layer in places):
            depth = min(depth + 1, len(self.blocks))
        only_cls = self.pool is None and depth == len(self.blocks)
        # without a class token, the mean of the patch tokens stands for it
        whole = places if self.cls is None else taps
        only_cls &= not any(_needs_block(stream, layer, depth) for stream, layer in whole)

        patches: dict[tuple[Stream | None, int], torch.Tensor] = {}
        classes: dict[tuple[Stream | None, int], torch.Tensor] = {}

        def keep(tap: tuple[Stream | None, int], state: torch.Tensor) -> None:
            if tap in taps:
                patches[tap] = state[:, self.prefix : own]
            if tap in cls:
                mean = self.cls is None
                classes[tap] = state[:, self.prefix : own].mean(dim=1) if mean else state[:, 0]

        streams = {stream: torch.zeros_like(tokens) for stream, _ in places if stream}
        x = self.ln_pre(tokens)
        own = x.shape[1]
        prompts = prompts or {}
        for number, block in enumerate(self.blocks[:depth], start=1):
            if number in prompts:
                x = torch.cat([x[:, :own], prompts[number].to(x.dtype)], dim=1)
            first = only_cls and number == depth
            turned = angles if angles is None else _unturned(angles, x.shape[1])
            readers = self.readers
            x, streams = self.call(_step, number, block, x, streams, act, first, readers, turned)
            for stream, layer in places:
                if _is_next(stream):
                    if layer == number - 1:
                        keep((stream, layer), streams[stream])
                    elif layer == number == len(self.blocks):
                        keep((stream, layer), x)
                elif layer == number:
                    keep((stream, layer), streams[stream] if stream else x)
        found = pass_windows(self, tokens, grid, windows, act, angles)[0] if windows else {}
        return Taps(patches, x[:, :own] if image else None, found, grid, classes)

    def check(
        self,
        size: Sequence[int],
        taps: Iterable[tuple[Stream | None, int]],
        windows: Iterable[int] = (),
    ) -> None:
        """Check that a pass over inputs of `size` (H, W) can return these taps and windows.

        Raises:
            BackboneError: a size that is not a multiple of the patch, a block that does not exist,
                or a window larger than the grid.
        """
        height, width = size
        if height % self.patch_size or width % self.patch_size:
            raise BackboneError(
                f"An input of {height}×{width} pixels is not a multiple of this backbone's "
                f"{self.patch_size}-pixel patches; choose another image size."
            )
        for _, layer in taps:
            if not 1 <= layer <= len(self.blocks):
                raise BackboneError(
                    f"Block {layer} does not exist: this backbone has blocks 1 to "
                    f"{len(self.blocks)}; choose other layers."
                )
        for side in windows:
            window_patches((height // self.patch_size, width // self.patch_size), side)

    def _embed(
        self, pixels: torch.Tensor, pos_embed: PosEmbedResize
    ) -> tuple[torch.Tensor, tuple[int, int]]:
        """Tokens with positions, before ln_pre, and the grid."""
        x = self.patch_embed(pixels)
        # plain numbers also for a tracer, which then takes resized positions as constants
        grid = (int(x.shape[-2]), int(x.shape[-1]))
        x = x.flatten(2).transpose(1, 2)
        if self.cls is not None:
            x = torch.cat([self.cls.to(x.dtype).expand(len(x), 1, -1), x], dim=1)
        if self.pos is not None:
            x = x + self._positions(self.pos, grid, pos_embed).to(x.dtype)
        if self.registers is not None:
            own = 0 if self.cls is None else 1
            registers = self.registers.to(x.dtype).expand(len(x), -1, -1)
            x = torch.cat([x[:, :own], registers, x[:, own:]], dim=1)
        return x, grid

    def _angles(self, grid: tuple[int, int], tokens: torch.Tensor) -> torch.Tensor | None:
        """(N, 2, d) rotary positions of all tokens, or None."""
        if self.rope is None:
            return None
        if grid not in self._turned:  # and a constant in graphs, as resized positions are
            angles = self.rope(grid).to(tokens.device)
            self._turned[grid] = torch.cat([_unturned(angles[:0], self.prefix), angles])
        return self._turned[grid]

    def _positions(
        self, pos: torch.Tensor, grid: tuple[int, int], mode: PosEmbedResize
    ) -> torch.Tensor:
        own = 0 if self.cls is None else 1
        side = round((len(pos) - own) ** 0.5)
        if grid == (side, side):
            return pos
        if (grid, mode) not in self._resized:
            table = pos[own:].float().T.reshape(1, -1, side, side)
            offset = mode == "bicubic_offset"
            table = F.interpolate(
                table,
                size=None if offset else grid,
                scale_factor=[(n + 0.1) / side for n in grid] if offset else None,
                mode=mode.partition("_")[0],
                antialias=mode.endswith("_antialias"),
                align_corners=False,
            )
            self._resized[grid, mode] = torch.cat([pos[:own], table[0].flatten(1).T])
        return self._resized[grid, mode]


def _unturned(angles: torch.Tensor, count: int) -> torch.Tensor:
    """(N, 2, d) angles with angles of 0 added, for tokens without a place, up to `count`."""
    still = angles.new_zeros(1, *angles.shape[1:])
    still[:, 1] = 1
    return torch.cat([angles, still.expand(count - len(angles), -1, -1)])


def _step(
    number: int,
    block: Block,
    x: torch.Tensor,
    streams: Mapping[Stream, torch.Tensor],
    act: Map | None,
    first: bool,
    readers: slice,
    angles: torch.Tensor | None = None,
) -> tuple[torch.Tensor, Mapping[Stream, torch.Tensor]]:
    """The ordinary stream (all tokens, or only the first) and the extra streams after a block."""
    if not streams:
        whole = block.first if first else block
        return whole(x, act, angles=angles), streams
    q, k, v = block.qkv(block.ln_1(x))
    moved = dict(streams)
    own = 1 if first else None
    mixed = block.mix(q[:, :own], k, v, angles=angles)
    for stream, state in streams.items():
        if _is_next(stream):
            moved[stream] = block.attend(x[:, :own], mixed)
            continue
        if number < stream.first_block:
            continue
        if stream.kind == "attention":
            moved[stream] = block.attended(q, k, readers, angles)
            continue
        if number == stream.first_block or number in stream.restart:
            state = x if stream.start == "input" else torch.zeros_like(x)
        same = {"qq": q, "kk": k, "vv": v}[stream.kind]
        # values have no rotary positions
        places = None if stream.kind == "vv" else angles
        moved[stream] = block.attend(state, block.mix(same, same, v, angles=places))
    return block.finish(x[:, :own], mixed, act), moved


def _is_next(stream: Stream | None) -> bool:
    return stream is not None and stream.kind == "next"


def _needs_block(stream: Stream | None, layer: int, block: int) -> bool:
    """Whether what a stream gives of a layer is computed in the ordinary stream of a block."""
    if stream is None:
        return layer == block
    return stream.kind == "next" and layer in (block - 1, block)
