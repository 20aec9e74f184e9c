"""The parts of a CLIP in open_clip's structure, for our forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter

import torch
import torch.nn.functional as F

from vlad.backbones.backbone import Backbone
from vlad.backbones.block import ACTIVATIONS, Block, Map, identity
from vlad.backbones.plain import PlainCLIP
from vlad.backbones.text import TextTransformer, first_largest
from vlad.backbones.tokens import context_of, identity_of
from vlad.backbones.vit import VisionTransformer
from vlad.types import Activation, BackboneInfo

_ACTIVATIONS: dict[str, Activation] = {"GELU": "gelu", "QuickGELU": "quick_gelu"}


def clip_backbone(
    name: str,
    model: PlainCLIP,
    tokenizer,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    pool: Callable[[PlainCLIP], Map | None] | None = None,
    text=None,
) -> Backbone:
    """A backbone over a CLIP whose modules have open_clip's names.

    Args:
        model: a PlainCLIP, or an open_clip model, which has the same parts.
        tokenizer: N sentences -> (N, L) token ids.
        pool: model -> what replaces "ln_post of CLS", as in `VisionTransformer`, or None.
        text: model -> its text encoder; None takes CLIP's causal one, read at the end of the text.
    """
    visual = model.visual
    causal = text is None
    info = BackboneInfo(
        name=name,
        depth=len(visual.transformer.resblocks),
        width=visual.conv1.out_channels,
        embed_dim=visual.output_dim,
        patch_size=visual.patch_size[0],
        image_size=visual.image_size[0],
        has_text=True,
        text_width=model.token_embedding.embedding_dim if causal else None,
        text_depth=len(model.transformer.resblocks) if causal else 0,
        activation=_activation(visual.transformer.resblocks[0].mlp),
    )
    # the printed modules include the activations, which are not in the tensors
    inner = getattr(tokenizer, "tokenizer", None)  # one of transformers
    own = identity_of(inner) if inner else type(tokenizer).__name__
    config = f"{model} {own} {tokenizer.context_length}"
    read = text or partial(text_of, tokenizer=tokenizer)
    build = partial(_vision, pool=pool)
    blocks = attrgetter("visual.transformer")
    return Backbone(info, model, build, read, blocks, tuple(mean), tuple(std), config)


def text_of(model, tokenizer) -> TextTransformer:
    """CLIP's text encoder over modules with open_clip's names."""
    project = model.text_projection
    return TextTransformer(
        tokenize=tokenizer,
        end=first_largest,
        embed=model.token_embedding,
        pos=model.positional_embedding,
        blocks=[block_of(block) for block in model.transformer.resblocks],
        ln_final=model.ln_final,
        proj=project if isinstance(project, torch.nn.Module) else partial(_matmul, weight=project),
        context=context_of(tokenizer),
    )


def _vision(model: PlainCLIP, pool) -> VisionTransformer:
    visual = model.visual
    return VisionTransformer(
        patch_embed=visual.conv1,
        patch_size=visual.patch_size[0],
        cls=visual.class_embedding,
        pos=visual.positional_embedding,
        ln_pre=visual.ln_pre,
        blocks=[block_of(block) for block in visual.transformer.resblocks],
        ln_post=visual.ln_post,
        proj=identity if visual.proj is None else partial(_matmul, weight=visual.proj),
        pool=pool and pool(model),
    )


def _matmul(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x @ weight


def _activation(mlp) -> Activation | None:
    """The activation of an MLP if it is one of CLIP's two."""
    return _ACTIVATIONS.get(type(mlp.gelu).__name__)


def block_of(block) -> Block:
    """A block of open_clip's transformers as functions."""
    attention, mlp = block.attn, block.mlp
    known = _activation(mlp)
    own = ACTIVATIONS[known] if known else mlp.gelu

    def feed(x: torch.Tensor, activation: Map | None) -> torch.Tensor:
        return mlp.c_proj((activation or own)(mlp.c_fc(x.to(mlp.c_fc.weight.dtype))))

    def qkv(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        return F.linear(x.to(weight.dtype), weight, bias).chunk(3, dim=-1)

    def projections() -> list[tuple[torch.Tensor, torch.Tensor | None]]:
        weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
        return list(zip(weights, biases, strict=True))

    return Block(
        ln_1=block.ln_1,
        qkv=qkv,
        projections=projections,
        out=attention.out_proj,
        heads=attention.num_heads,
        ln_2=block.ln_2,
        mlp=feed,
        scale_1=block.ls_1,
        scale_2=block.ls_2,
    )
