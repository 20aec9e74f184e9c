"""Plain vision transformers of timm (VisionTransformer, Eva) for our forward pass."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Attention, AttentionRope, GluMlp, HybridEmbed, Mlp, PatchEmbed, SwiGLU
from timm.models import eva, vision_transformer, vitamin
from torch import nn

from vlad.backbones.block import Block, Map, Turn, identity, turn_halves, turn_neighbours
from vlad.backbones.vit import VisionTransformer
from vlad.errors import BackboneError

_PRE = (vision_transformer.Block, eva.EvaBlock)
_POST = (vision_transformer.ResPostBlock, eva.EvaBlockPostNorm)
_ATTENTION = (Attention, eva.EvaAttention, AttentionRope)
_MLP = (Mlp, GluMlp, SwiGLU, vitamin.GeGluMlp)


def is_plain(model: Any) -> bool:
    """Return whether our forward pass gives what the model's own gives."""
    if type(model) not in (vision_transformer.VisionTransformer, eva.Eva):
        return False
    if getattr(model, "rope_mixed", False) or type(model.patch_embed) not in (
        PatchEmbed, HybridEmbed,
    ):  # fmt: skip
        return False
    high, wide = model.patch_embed.feat_ratio(as_scalar=False)
    if high != wide or model.patch_embed.dynamic_img_pad or not _has_square_positions(model):
        return False
    return all(
        type(block) in _PRE + _POST
        and type(block.attn) in _ATTENTION
        and block.attn.gate is None  # computed from what `Block.out` does not see
        and type(block.mlp) in _MLP
        for block in model.blocks
    )


def _has_square_positions(model: Any) -> bool:
    if model.pos_embed is None:
        return True
    own = 0 if model.no_embed_class else model.num_prefix_tokens
    return round((model.pos_embed.shape[1] - own) ** 0.5) ** 2 == model.pos_embed.shape[1] - own


def vision(model: Any, proj: Map) -> VisionTransformer:
    """The image encoder of a model for which `is_plain` is true.

    Args:
        proj: its pooled features -> its image embedding.
    """
    cls, registers, pos = _tokens(model)
    rope = getattr(model, "rope", None)
    turn = turn_halves if getattr(rope, "rotate_half", True) else turn_neighbours
    return VisionTransformer(
        patch_embed=partial(_patches, model.patch_embed),
        patch_size=model.patch_embed.feat_ratio(),
        cls=cls,
        pos=pos,
        ln_pre=model.norm_pre,
        blocks=[_block(part, turn if rope is not None else None) for part in model.blocks],
        ln_post=lambda x: model.fc_norm(model.norm(x)),
        proj=proj,
        pool=None if _reads_cls(model) else partial(_pool, model),
        registers=registers,
        rope=None if rope is None else partial(_angles, rope),
    )


def _reads_cls(model: Any) -> bool:
    return model.global_pool == "token" and model.attn_pool is None


def _pool(model: Any, x: torch.Tensor) -> torch.Tensor:
    """(B, N, C) output of the last block -> (B, C'); of a patch token alone if that is all."""
    x = model.norm(x)
    if x.shape[1] > model.num_prefix_tokens:
        x = model.pool(x)
    else:
        x = x[:, 0] if model.attn_pool is None else model.attn_pool(x)
    return model.fc_norm(x)


def _tokens(model: Any) -> tuple[torch.Tensor | None, ...]:
    """The class token, the registers and the positions, as `VisionTransformer` takes them."""
    cls = None if model.cls_token is None else model.cls_token[0, 0]
    registers = None if model.reg_token is None else model.reg_token[0]
    if model.pos_embed is None:
        return cls, registers, None
    pos, own, prefix = model.pos_embed[0], int(cls is not None), model.num_prefix_tokens
    if model.no_embed_class:
        pos = torch.cat([pos.new_zeros(own, pos.shape[1]), pos])
    elif registers is not None:  # theirs stand between that of the class token and the patches'
        registers = registers + pos[own:prefix]
        pos = torch.cat([pos[:own], pos[prefix:]])
    return cls, registers, pos


def _patches(embed: PatchEmbed | HybridEmbed, pixels: torch.Tensor) -> torch.Tensor:
    if isinstance(embed, HybridEmbed):
        found = embed.backbone(pixels)
        return embed.proj(found[-1] if isinstance(found, list | tuple) else found)
    x = embed.proj(pixels)
    if isinstance(embed.norm, nn.Identity):
        return x
    return embed.norm(x.movedim(1, -1)).movedim(-1, 1)


def _angles(rope: Any, grid: tuple[int, int]) -> torch.Tensor:
    if getattr(rope, "feat_shape", None) is not None:  # it keeps those of one grid
        rope = copy.deepcopy(rope)
        rope.update_feat_shape(list(grid))
        return rope.get_embed().unflatten(-1, (2, -1))
    return rope.get_embed(list(grid)).unflatten(-1, (2, -1))


def _block(part: Any, turn: Turn | None) -> Block:
    attention = part.attn
    plain = _has_plain_inputs(attention)
    branches = [_scale(part, "ls1", "gamma_1"), _scale(part, "ls2", "gamma_2")]
    norms: list[Map] = [part.norm1, part.norm2]
    if type(part) in _POST:  # the norms end the branches
        norms, branches = [identity, identity], [partial(_full, norm) for norm in norms]
    return Block(
        ln_1=norms[0],
        qkv=partial(_qkv, attention),
        projections=partial(_projections, attention) if plain else None,
        out=partial(_out, attention),
        heads=attention.num_heads,
        ln_2=norms[1],
        mlp=_mlp(part.mlp),
        scale_1=branches[0],
        scale_2=branches[1],
        turn=turn,
    )


def has_plain_attention(model: Any) -> bool:
    """Return whether values and what follows the attention are linear maps in every block."""
    each = [part.attn for part in model.blocks]
    return all(_has_plain_inputs(x) and isinstance(x.norm, nn.Identity) for x in each)


def _has_plain_inputs(attention: Any) -> bool:
    return isinstance(attention.q_norm, nn.Identity) and not _groups(attention)


def _scale(part: Any, module: str, parameter: str) -> Map:
    gamma = getattr(part, parameter, None)
    return getattr(part, module, identity) if gamma is None else gamma.mul


def _full(norm: Map, x: torch.Tensor) -> torch.Tensor:
    """A norm, in float32 as its weights are, of what may be in half precision."""
    return norm(x.float())


def _groups(attention: Any) -> int:
    """How many heads share keys and values; 0 if each has its own."""
    groups = getattr(attention, "num_kv_groups", 1)
    return groups if groups > 1 else 0


def _projections(attention: Any) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Weight and bias of q, k, v and the projection after attention."""
    out = (attention.proj.weight, attention.proj.bias)
    if attention.qkv is None:
        layers = (attention.q_proj, attention.k_proj, attention.v_proj)
        return [*((layer.weight, layer.bias) for layer in layers), out]
    weight, bias = attention.qkv.weight, _bias(attention)
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    return [*zip(weight.chunk(3), biases, strict=True), out]


def _bias(attention: Any) -> torch.Tensor | None:
    if getattr(attention, "q_bias", None) is None:
        return attention.qkv.bias
    bias = torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
    return bias.to(attention.qkv.weight.dtype)


def _qkv(attention: Any, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    if attention.qkv is None:
        x = x.to(attention.q_proj.weight.dtype)
        q, k, v = attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)
    else:
        weight = attention.qkv.weight
        q, k, v = F.linear(x.to(weight.dtype), weight, _bias(attention)).chunk(3, dim=-1)
    if not isinstance(attention.q_norm, nn.Identity):
        q, k = _normed(attention.q_norm, attention, q), _normed(attention.k_norm, attention, k)
    if groups := _groups(attention):
        k, v = (
            t.unflatten(-1, (-1, attention.head_dim)).repeat_interleave(groups, dim=-2).flatten(-2)
            for t in (k, v)
        )
    return q, k, v


def _normed(norm: nn.Module, attention: Any, x: torch.Tensor) -> torch.Tensor:
    return _full(norm, x.unflatten(-1, (-1, attention.head_dim))).flatten(-2).to(x.dtype)


def _out(attention: Any, x: torch.Tensor) -> torch.Tensor:
    if not isinstance(attention.norm, nn.Identity):
        x = _full(attention.norm, x).to(attention.proj.weight.dtype)
    return attention.proj(x)


def _mlp(mlp: Any) -> Callable[[torch.Tensor, Map | None], torch.Tensor]:
    first = isinstance(mlp, vitamin.GeGluMlp)  # its norm comes first
    last = mlp.w2 if first else mlp.fc2

    def feed(x: torch.Tensor, activation: Map | None) -> torch.Tensor:
        if activation is not None and type(mlp) is not Mlp:
            raise BackboneError(
                f"Cannot replace the activation of a {type(mlp).__name__}; choose another backbone "
                "or head."
            )
        x = (mlp.norm(x) if first else x).to(last.weight.dtype)
        x = _inner(mlp, x, activation or mlp.act)
        if not first and not isinstance(mlp.norm, nn.Identity):
            x = _full(mlp.norm, x).to(last.weight.dtype)
        return last(x)

    return feed


def _inner(mlp: Any, x: torch.Tensor, act: Map) -> torch.Tensor:
    """What the last layer of an MLP gets."""
    if isinstance(mlp, SwiGLU):
        return act(mlp.fc1_g(x)) * mlp.fc1_x(x)
    if isinstance(mlp, vitamin.GeGluMlp):
        return act(mlp.w0(x)) * mlp.w1(x)
    x = mlp.fc1(x)
    if isinstance(mlp, GluMlp):
        one, other = x.chunk(2, dim=-1)
        return one * act(other) if mlp.gate_last else act(one) * other
    return act(x)
