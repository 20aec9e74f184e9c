"""What of a sentence a text encoder reads, and what its tokenizer is known by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Context:
    """How long sentences may be.

    Attributes:
        limit: tokens that a text encoder reads, those at both ends included.
        count: sentence -> its tokens, were there no limit.
    """

    limit: int
    count: Callable[[str], int]

    def cut(self, sentences: Iterable[str], words: int = 0) -> list[str]:
        """The sentences of which the end is not read.

        Args:
            words: learned ones in front of every sentence.
        """
        left = self.limit - words
        # a tokenizer takes seconds to load, and no token has less than a byte
        long = [s for s in dict.fromkeys(sentences) if not s.isascii() or len(s) + 2 > left]
        return [sentence for sentence in long if self.count(sentence) > left]


def context_of(tokenizer: Any) -> Context:
    """That of CLIP's tokenizer, ours or open_clip's."""

    def count(sentence: str) -> int:
        if hasattr(tokenizer, "encode"):
            return len(tokenizer.encode(sentence)) + 2
        return len(tokenizer.tokenizer(tokenizer.clean_fn(sentence)).input_ids)

    return Context(tokenizer.context_length, count)


def identity_of(tokenizer: Any) -> str:
    """Hash of what a tokenizer of transformers does."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    content = fast.to_str() if fast else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
