"""A category's prompts as a head reads them: with learned words, if need be for each image."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace

import torch

from vlad.backbones.backbone import Backbone
from vlad.prompts import PromptBank, Prompts
from vlad.scoring.textcache import embed_prompts
from vlad.system.text import shown
from vlad.types import TextFeatures, TextSpec


def encode(
    backbone: Backbone,
    prompts: Prompts,
    spec: TextSpec,
    deep: Mapping[int, torch.Tensor] | None,
) -> TextFeatures:
    """Embeddings of the sentences of both sides; gradients flow to their learned words.

    If the spec has phrases, these have the learned words, and the sentences are read plainly.

    Args:
        deep: block -> (k, T) tokens, those of `spec` or of one image.
    """
    read = spec.phrases or (prompts.normal, prompts.anomalous)
    activation = backbone.info.replaced(spec.activation)
    normal, anomalous = (
        backbone.encode_text(side, activation=activation, context=context, deep=deep)
        for side, context in zip(read, spec.context or (None, None), strict=True)
    )
    learned = TextFeatures(normal, anomalous)
    if not spec.phrases:
        return learned
    plain = embed_prompts(backbone, prompts, activation).to(backbone.device)
    return replace(plain, learned=learned)


def warn_of_cut(backbone: Backbone, bank: PromptBank, prompts: Prompts, words: int = 0) -> None:
    """Says how many sentences of a bank are longer than the text encoder reads.

    Args:
        words: learned ones in front of every sentence.
    """
    context = getattr(backbone.text, "context", None)
    sentences = dict.fromkeys(prompts.normal + prompts.anomalous)
    if context and (cut := context.cut(sentences, words)):
        warnings.warn(
            f"{backbone.info.name} reads {context.limit - words} tokens of a sentence: "
            f"{len(cut)} of {len(sentences)} sentences of the prompt bank {bank.name} are longer "
            f"and were cut, as {shown(repr(cut[0]))}; shorten them.",
            stacklevel=2,
        )


def encode_each(
    backbone: Backbone, prompts: Prompts, spec: TextSpec, plain: torch.Tensor
) -> TextFeatures:
    """The same for each of B images; `spec.deep` makes tokens from their embeddings (B, D).

    Both sides come as (B, N, D).
    """
    assert callable(spec.deep)  # otherwise `encode` serves all images
    deep = spec.deep(plain)
    each = [
        encode(backbone, prompts, spec, {block: tokens[i] for block, tokens in deep.items()})
        for i in range(len(plain))
    ]
    return TextFeatures(
        torch.stack([text.normal for text in each]),
        torch.stack([text.anomalous for text in each]),
    )
