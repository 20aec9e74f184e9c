"""CLIP and its kin in transformers: MetaCLIP 2, AltCLIP, Chinese-CLIP."""

from __future__ import annotations

from typing import Any

from vlad.backbones.block import ACTIVATIONS, Block, identity
from vlad.backbones.text import TextTransformer, first_largest
from vlad.backbones.transformers.kind import CLIP_LOOK, Kind, block, describe, encoder_of, vision_of
from vlad.backbones.transformers.words import Words, at_token, plain_text
from vlad.backbones.vit import VisionTransformer
from vlad.types import BackboneInfo

PROJECTED = "CLIPVisionModelWithProjection"


def _info(name: str, config: Any, **known: Any) -> BackboneInfo:
    act = vision_of(config).hidden_act
    act = act if act in ACTIVATIONS else None
    return describe(name, config, activation=act, **known)


def _both(name: str, config: Any) -> BackboneInfo:
    return _info(name, config, embed_dim=config.projection_dim)


def _causal(name: str, config: Any) -> BackboneInfo:
    text = config.text_config
    known = {"text_width": text.hidden_size, "text_depth": text.num_hidden_layers}
    return _info(name, config, embed_dim=config.projection_dim, **known)


def _alone(name: str, config: Any) -> BackboneInfo:
    return _info(name, config, embed_dim=config.projection_dim if _is_projected(config) else 0)


def _is_projected(config: Any) -> bool:
    return PROJECTED in (config.architectures or ())


def _class(config: Any) -> Any:
    import transformers

    return getattr(transformers, PROJECTED if _is_projected(config) else "AutoModel")


def _vision(model: Any) -> VisionTransformer:
    vision = vision_of(model)
    return VisionTransformer(
        patch_embed=vision.embeddings.patch_embedding,
        patch_size=vision.config.patch_size,
        cls=vision.embeddings.class_embedding,
        pos=vision.embeddings.position_embedding.weight,
        ln_pre=vision.pre_layrnorm,
        blocks=[layer_block(layer) for layer in vision.encoder.layers],
        ln_post=vision.post_layernorm,
        proj=getattr(model, "visual_projection", identity),
    )


def layer_block(layer: Any) -> Block:
    """A block by the names that CLIP and SigLIP share."""
    return block(layer.self_attn, layer.layer_norm1, layer.layer_norm2, layer.mlp)


def _clip_text(model: Any, words: Words) -> TextTransformer:
    eos = model.config.text_config.eos_token_id
    # configs from before transformers 4.31 name another token than the end of text
    return _text(model, words, first_largest if eos == 2 else at_token(eos))


def _metaclip_text(model: Any, words: Words) -> TextTransformer:
    return _text(model, words, at_token(model.config.text_config.eos_token_id))


def _text(model: Any, words: Words, end: Any) -> TextTransformer:
    text = model.text_model
    return TextTransformer(
        tokenize=words.ids,
        end=end,
        embed=text.embeddings.token_embedding,
        pos=text.embeddings.position_embedding.weight,
        blocks=[layer_block(layer) for layer in text.encoder.layers],
        ln_final=text.final_layer_norm,
        proj=model.text_projection,
        context=words.context,
    )


def _behind_padding(text: Any) -> int:
    """RoBERTa counts positions from the one after that of padding."""
    return text.pad_token_id + 1


CLIP = Kind(_causal, _vision, encoder_of, CLIP_LOOK, text=_clip_text)
CLIP_VISION = Kind(_alone, _vision, encoder_of, CLIP_LOOK, load=_class)
METACLIP_2 = Kind(_causal, _vision, encoder_of, CLIP_LOOK, text=_metaclip_text)
ALTCLIP = Kind(_both, _vision, encoder_of, CLIP_LOOK, text=plain_text, unread=_behind_padding)
CHINESE_CLIP = Kind(_both, _vision, encoder_of, CLIP_LOOK, text=plain_text)
CHINESE_CLIP_VISION = Kind(_alone, _vision, encoder_of, CLIP_LOOK)
