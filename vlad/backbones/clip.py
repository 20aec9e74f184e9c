"""CLIP backbones from a file of weights.

open_clip itself is imported only if its vocabulary or one of its architectures is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch

from vlad.backbones import weights
from vlad.backbones.backbone import Backbone
from vlad.backbones.modules import clip_backbone
from vlad.backbones.plain import MEAN, STD, PlainCLIP, is_plain
from vlad.errors import BackboneError
from vlad.system.resources import read_json


def from_file(path: Path, model: str | None = None) -> Backbone:
    """A CLIP checkpoint on disk: open_clip's .pt or .safetensors, or OpenAI's JIT archive.

    The architecture is `model` if given, else the JSON in open_clip's config format beside the file
    (same name, .json), else inferred from the shapes of the tensors.

    Raises:
        BackboneError: the file has no CLIP, or its tensors do not fit the architecture.
    """
    state, is_openai = weights.read_clip_state(path)
    config = _config(path, model) or weights.infer_clip_config(state, path)
    config.setdefault("quick_gelu", is_openai)
    _check_depth(config, state, path)
    built = _build(config, path)
    weights.load_strictly(built, state, path)
    tokenizer = Tokenizer(len(state["positional_embedding"]))
    if isinstance(built, PlainCLIP):
        return clip_backbone(path.stem, built, tokenizer, MEAN, STD)
    from vlad.backbones.open_clip import as_backbone

    return as_backbone(path.stem, built, tokenizer, MEAN, STD)


def _check_depth(config: dict, state: dict, path: Path) -> None:
    """Raise a BackboneError for more blocks than tensors, before they are created."""
    for part in ("vision_cfg", "text_cfg"):
        layers = config[part].get("layers", 0) if isinstance(config.get(part), dict) else 0
        if isinstance(layers, int | float) and layers > len(state):
            raise BackboneError(
                f"The architecture given for {path} has {layers:g} layers, but the file has "
                f"{len(state)} tensors; correct the JSON beside it, or name the architecture."
            )


def _build(config: dict, path: Path) -> torch.nn.Module:
    """The model of a config in open_clip's format."""
    try:
        if is_plain(config):
            return PlainCLIP(config)
        from vlad.backbones.open_clip import build

        return build(config)
    except (
        TypeError, AttributeError, KeyError, ValueError, ArithmeticError, AssertionError,
        RuntimeError,
    ) as error:  # fmt: skip
        raise BackboneError(
            f"The architecture given for {path} is not an open_clip model config ({error}); "
            "correct the JSON beside it, or name the architecture."
        ) from error


def _config(path: Path, model: str | None) -> dict | None:
    if model is not None:
        import open_clip

        if model not in open_clip.list_models():
            raise BackboneError(
                f"open_clip has no architecture {model!r}; choose one of open_clip.list_models()."
            )
        return open_clip.get_model_config(model)
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return None
    try:
        config = read_json(beside)
    except (OSError, ValueError) as error:
        raise BackboneError(
            f"{beside} is not valid JSON ({error}); correct or remove it."
        ) from None
    if not isinstance(config, dict):
        raise BackboneError(f"{beside} is not an open_clip model config; correct or remove it.")
    return config.get("model_cfg", config)


class Tokenizer:
    """CLIP's tokenizer, created on first use, because open_clip is slow to import.

    Args:
        context_length: number of tokens to pad a sentence to.
    """

    def __init__(self, context_length: int):
        self.context_length = context_length

    @cached_property
    def _simple(self):
        import open_clip

        return open_clip.SimpleTokenizer(context_length=self.context_length)

    def __call__(self, sentences: Sequence[str]) -> torch.Tensor:
        """(N, context length) token ids."""
        return self._simple(sentences)

    def encode(self, sentence: str) -> list[int]:
        """All token ids of a sentence, without those at both ends."""
        return self._simple.encode(sentence)

    def __getstate__(self) -> dict:
        return {"context_length": self.context_length}
