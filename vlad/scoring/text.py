"""A category's prompts as a head reads them: with learned words, if need be for each image."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from vlad.backbones.backbone import Backbone
from vlad.prompts import PromptBank, Prompts
from vlad.scoring.textcache import embed_prompts
from vlad.system.text import shown
from vlad.types import Features, TextFeatures, TextSpec


def encode(
    backbone: Backbone,
    prompts: Prompts,
    spec: TextSpec,
    deep: Mapping[int, torch.Tensor] | None,
    context: Sequence[torch.Tensor] | None = None,
) -> TextFeatures:
    """Embeddings of the sentences of both sides; gradients flow to their learned words.

    If the spec has phrases, these have the learned words, and the sentences are read plainly.

    Args:
        deep: block -> (k, T) tokens, those of `spec` or of one image.
        context: words of both sides, (m, T) or (B, m, T) of each image, which gives rows for each;
            None is those of `spec`.
    """
    if context is None and isinstance(spec.context, tuple):
        context = spec.context
    read = spec.phrases or (prompts.normal, prompts.anomalous)
    activation = backbone.info.replaced(spec.activation)
    normal, anomalous = (
        backbone.encode_text(side, activation=activation, context=words, deep=deep)
        for side, words in zip(read, context or (None, None), strict=True)
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
    backbone: Backbone, prompts: Prompts, spec: TextSpec, features: Features
) -> TextFeatures:
    """The same for each of B images, whose embeddings make the tokens of `spec`.

    Both sides come as (B, N, D).
    """
    context = None
    if callable(spec.context):
        assert features.image is not None  # such a head asks for it
        context = spec.context(features.image)
    if not callable(spec.deep):
        return encode(backbone, prompts, spec, spec.deep, context)
    assert features.plain is not None  # computed if the spec has prompts
    deep = spec.deep(features.plain)
    each = [
        encode(
            backbone,
            prompts,
            spec,
            {block: tokens[i] for block, tokens in deep.items()},
            context and [words[i] for words in context],
        )
        for i in range(len(features.plain))
    ]
    return TextFeatures(
        torch.stack([text.normal for text in each]),
        torch.stack([text.anomalous for text in each]),
    )
