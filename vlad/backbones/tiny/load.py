"""The built-in backbone from its file."""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from pathlib import Path

import torch
from safetensors.torch import load_file

from vlad.backbones.backbone import Backbone
from vlad.backbones.block import identity
from vlad.backbones.clip import Tokenizer
from vlad.backbones.efficientnet import MEAN, STD
from vlad.backbones.modules import text_of
from vlad.backbones.tiny import WEIGHTS
from vlad.backbones.tiny.model import DEPTH, JOINT, PATCH, SIDE, TEXT, WIDTH, Tiny
from vlad.backbones.vit import VisionTransformer
from vlad.types import NATIVE, BackboneInfo

# in the file, of the words that captions in training had
TOKENS, EMBEDDINGS = "token_embedding.tokens", "token_embedding.rows"


def load(name: str) -> Backbone:
    """vlad-tiny, ready to compute on the CPU."""
    model = Tiny()
    model.load_state_dict(read_weights(WEIGHTS), assign=True)
    tokenizer = Tokenizer(TEXT.context)
    info = BackboneInfo(
        name,
        depth=DEPTH,
        width=model.features + WIDTH,
        embed_dim=JOINT,
        patch_size=PATCH,
        image_size=SIDE,
        has_text=True,
        text_width=TEXT.width,
        text_depth=TEXT.layers,
        activation="gelu",
        # its attention reads the channels for words alone
        capabilities=NATIVE - {"weights"} | {"pyramid"},
        pyramid=model.widths,
        compare=(1,),
    )
    blocks, config = attrgetter("visual"), f"{name} {TEXT.context}"
    read = partial(text_of, tokenizer=tokenizer)
    return Backbone(info, model, _vision, read, blocks, MEAN, STD, config)


def read_weights(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of `Tiny` in float32; tokens without an embedding in the file have zeros."""
    state = load_file(file)
    table = torch.zeros(TEXT.vocabulary, TEXT.width)
    table[state.pop(TOKENS).long()] = state.pop(EMBEDDINGS).float()
    return {key: x.float() for key, x in state.items()} | {"token_embedding.weight": table}


def _vision(model) -> VisionTransformer:
    return VisionTransformer(
        patch_embed=model.patch_embed,
        patch_size=PATCH,
        cls=model.cls,
        pos=None,
        ln_pre=identity,
        blocks=model.blocks(),
        ln_post=model.norm,
        proj=model.project,
        pyramid=model.pyramid,
    )
