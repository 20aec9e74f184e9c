"""Text embeddings, computed once for each backbone and each set of sentences.

They are kept in memory and in the user's cache folder. A cache that cannot be read or written
costs time, never an error.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from threading import Lock
from typing import Protocol

import torch
from safetensors.torch import load, save

from vlad.prompts import Prompts
from vlad.system.files import cache_write
from vlad.system.resources import cache_folder
from vlad.system.torch_state import own_state
from vlad.types import Activation, TextFeatures

FORMAT = 3  # raise it when the meaning of a stored entry changes
MEMORY = 64  # entries; one of WinCLIP's takes 0.6 MB

_memory: dict[str, TextFeatures] = {}
_changing = Lock()


class TextEncoder(Protocol):
    """What is needed of a backbone: the encoder, and a hash of all embeddings depend on."""

    @property
    def fingerprint(self) -> str: ...

    def encode_text(
        self, sentences: list[str], *, activation: Activation | None
    ) -> torch.Tensor: ...


@own_state()
def embed_prompts(
    backbone: TextEncoder, prompts: Prompts, activation: Activation | None = None
) -> TextFeatures:
    """The embeddings of a category's sentences, from the cache if they are in it.

    A sentence that occurs more than once is encoded once. Rows are projected and unnormalised,
    in float32 on the CPU, and bit-equal whether they are fresh or cached; they are the caller's
    to change.

    Args:
        activation: overrides that of the text encoder's MLPs.

    Raises:
        HeadError: the backbone reads no text.
    """
    key = f"{FORMAT} {backbone.fingerprint} {activation} {prompts.key}"
    entry = hashlib.sha256(key.encode()).hexdigest()
    text = _memory.get(entry) or _read(entry, prompts)
    if text is None:
        text = _encode(backbone, prompts, activation)
        _write(entry, text)
    with _changing:
        if entry not in _memory and len(_memory) >= MEMORY:
            del _memory[next(iter(_memory))]  # the oldest
        _memory[entry] = text
    return TextFeatures(text.normal.clone(), text.anomalous.clone())


def _encode(backbone: TextEncoder, prompts: Prompts, activation: Activation | None) -> TextFeatures:
    sentences = list(dict.fromkeys(prompts.normal + prompts.anomalous))
    with torch.no_grad():
        rows = backbone.encode_text(sentences, activation=activation).to("cpu", torch.float32)
    index = {sentence: i for i, sentence in enumerate(sentences)}
    return TextFeatures(
        rows[[index[sentence] for sentence in prompts.normal]],
        rows[[index[sentence] for sentence in prompts.anomalous]],
    )


def _path(entry: str) -> Path:
    return cache_folder() / "text" / f"{entry}.safetensors"


def _read(entry: str, prompts: Prompts) -> TextFeatures | None:
    try:
        tensors = load(_path(entry).read_bytes())
        text = TextFeatures(tensors["normal"], tensors["anomalous"])
    except Exception:  # whatever is wrong with the file, it is written again
        return None
    whole = len(text.normal) == len(prompts.normal) and len(text.anomalous) == len(
        prompts.anomalous
    )
    return text if whole else None


def _write(entry: str, text: TextFeatures) -> None:
    content = save({"normal": text.normal, "anomalous": text.anomalous})
    with contextlib.suppress(OSError, RuntimeError):
        cache_write(_path(entry), content)
