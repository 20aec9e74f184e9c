"""Tokenizers and text encoders of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from vlad.backbones.text import PlainText
from vlad.backbones.tokens import Context, identity_of
from vlad.errors import BackboneError


class Words:
    """The tokenizer of a model, cutting at what its text encoder reads.

    Args:
        text: config of the text encoder.
        name: the model's folder or name.
        options: of `from_pretrained`.
        pad: "longest" or "max_length".
        unread: positions of the text encoder that no token takes.

    Raises:
        BackboneError: it tells no sentences apart, or knows tokens that the model does not.
    """

    def __init__(self, text: Any, name: str, options: dict, pad: str, unread: int):
        self._made = _tokenizer(name, options)
        self._pad = pad
        self.context = Context(text.max_position_embeddings - unread, self._count)
        one, other = (self._made(w)["input_ids"] for w in ("a photo of a flawless nut", "broken"))
        # where files of a tokenizer are missing, transformers makes one that knows no words, or
        # one that spells them: 22 tokens for these six
        if set(one) == set(other) or len(one) > 14 or max(one + other) >= text.vocab_size:
            raise _missing(name)

    def __call__(self, sentences: Sequence[str]) -> dict[str, torch.Tensor]:
        length = self.context.limit
        tokens = self._made(
            list(sentences), padding=self._pad, truncation=True, max_length=length,
            return_tensors="pt",
        )  # fmt: skip
        return {k: v for k, v in tokens.items() if k != "token_type_ids"}

    def ids(self, sentences: Sequence[str]) -> torch.Tensor:
        """N sentences -> (N, L) token ids."""
        return self(sentences)["input_ids"]

    def _count(self, sentence: str) -> int:
        return len(self._made(sentence)["input_ids"])

    @property
    def identity(self) -> str:
        return identity_of(self._made)


def _tokenizer(name: str, options: dict) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, **options)
    except ImportError as error:
        why = " ".join(str(error).split()).partition(".")[0]
        raise BackboneError(
            f"The tokenizer of {name} needs a package that is not installed ({why}); install it."
        ) from error
    except Exception as error:  # each kind of tokenizer raises its own errors
        if options["local_files_only"]:
            raise _missing(name) from error
        raise


def _missing(name: str) -> BackboneError:
    return BackboneError(
        f"The tokenizer of {name} is missing or is not that of its weights; add the tokenizer "
        "files (tokenizer.json, or vocab.json and merges.txt) of the model."
    )


def plain_text(model: Any, words: Words) -> PlainText:
    """A text encoder that its library runs, for those that are not causal."""

    def encode(sentences: Sequence[str]) -> torch.Tensor:
        tokens = {k: v.to(model.device) for k, v in words(sentences).items()}
        found = model.get_text_features(**tokens)
        return found if torch.is_tensor(found) else found.pooler_output

    return PlainText(encode, words.context)


def prefixed_text(model: Any, words: Words) -> PlainText:
    """The same for one that is not causal, averages its tokens, and takes learned words first."""
    plain = plain_text(model, words)

    def learned(sentences: Sequence[str], context: torch.Tensor) -> torch.Tensor:
        text, left = model.text_model, words.context.limit - len(context)
        tokens = words(sentences)
        ids = tokens["input_ids"][:, :left].to(model.device)
        mask = tokens["attention_mask"][:, :left].to(model.device)
        embedded = text.embeddings.token_embedding(ids)
        # the model scales all embeddings, and learned words are not to be scaled
        first = (context / text.embeddings.embed_scale).to(embedded).expand(len(ids), -1, -1)
        return text(
            inputs_embeds=torch.cat([first, embedded], dim=1),
            attention_mask=torch.cat([mask.new_ones(first.shape[:2]), mask], dim=1),
        ).pooler_output

    return replace(plain, learned=learned)


def at_token(eos: int) -> Any:
    """(N, L) token ids -> (N,) positions of the first token `eos`."""
    return lambda ids: (ids == eos).int().argmax(dim=-1)
