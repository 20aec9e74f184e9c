"""Towers of CLIP: from a file of weights, and the parts of any model built as open_clip builds it.

open_clip itself is imported where its vocabulary or one of its architectures is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path

import torch
import torch.nn.functional as F

from vlad import weights
from vlad.backbones.block import ACTIVATIONS, Block, Map, identity
from vlad.backbones.plain import MEAN, STD, PlainCLIP, is_plain
from vlad.backbones.text import TextTransformer, first_largest
from vlad.backbones.tower import Tower
from vlad.backbones.vit import VisionTransformer
from vlad.errors import BackboneError
from vlad.resources import read_json
from vlad.types import Activation, TowerInfo

_ACTIVATIONS: dict[str, Activation] = {"GELU": "gelu", "QuickGELU": "quick_gelu"}


def from_file(path: Path, model: str | None = None) -> Tower:
    """A CLIP checkpoint on disk: open_clip's .pt or .safetensors, or OpenAI's JIT archive.

    The architecture is `model` where given, else the JSON in open_clip's config format beside
    the file (same name, .json), else read off the shapes of the tensors.

    Raises:
        BackboneError: a file that holds no CLIP, or tensors that do not fit the architecture.
    """
    state, is_openai = weights.read_clip_state(path)
    config = _config(path, model) or weights.infer_clip_config(state, path)
    config.setdefault("quick_gelu", is_openai)
    _check_depth(config, state, path)
    built = _build(config, path)
    weights.load_strictly(built, state, path)
    tokenizer = Tokenizer(built.positional_embedding.shape[0])
    if isinstance(built, PlainCLIP):
        return clip_tower(path.stem, built, tokenizer, MEAN, STD)
    from vlad.backbones.open_clip import as_tower

    return as_tower(path.stem, built, tokenizer, MEAN, STD)


def _check_depth(config: dict, state: dict, path: Path) -> None:
    """Raises a BackboneError for more blocks than there are tensors, before they are made."""
    for part in ("vision_cfg", "text_cfg"):
        layers = config[part].get("layers", 0) if isinstance(config.get(part), dict) else 0
        if isinstance(layers, int | float) and layers > len(state):
            raise BackboneError(
                f"The architecture given for {path} has {layers:g} layers, and the file has "
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
            f"The architecture given for {path} is no model config of open_clip ({error}); "
            "correct the JSON beside it, or name the architecture."
        ) from error


def _config(path: Path, model: str | None) -> dict | None:
    if model is not None:
        import open_clip

        if model not in open_clip.list_models():
            raise BackboneError(
                f"open_clip knows no architecture {model!r}; choose one of open_clip.list_models()."
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
        raise BackboneError(f"{beside} is no model config of open_clip; correct or remove it.")
    return config.get("model_cfg", config)


class Tokenizer:
    """CLIP's tokenizer, made when a text is first read, because open_clip is slow to import.

    Args:
        context_length: tokens a sentence is padded to.
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

    def __getstate__(self) -> dict:
        return {"context_length": self.context_length}


def clip_tower(
    name: str,
    model: torch.nn.Module,
    tokenizer,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    pool: Map | None = None,
    text=None,
) -> Tower:
    """A tower over a CLIP whose modules bear open_clip's names.

    Args:
        tokenizer: N sentences -> (N, L) token ids.
        pool: model -> what replaces "ln_post of CLS", as in `VisionTransformer`, or None.
        text: model -> its text tower; None is CLIP's causal one, read at the end of the text.
    """
    visual = model.visual
    causal = text is None
    info = TowerInfo(
        name=name,
        depth=len(visual.transformer.resblocks),
        width=visual.conv1.out_channels,
        embed_dim=visual.output_dim,
        patch_size=visual.patch_size[0],
        image_size=visual.image_size[0],
        has_text=True,
        text_width=model.token_embedding.embedding_dim if causal else None,
        text_depth=len(model.transformer.resblocks) if causal else 0,
        activation=_ACTIVATIONS.get(type(visual.transformer.resblocks[0].mlp.gelu).__name__),
    )
    # the printed modules name the activations, which the tensors do not show
    config = f"{model} {type(tokenizer).__name__} {tokenizer.context_length}"
    read = text or partial(_text, tokenizer=tokenizer)
    build = partial(_vision, pool=pool)
    return Tower(info, model, build, read, _blocks, tuple(mean), tuple(std), config)


def _blocks(model: torch.nn.Module) -> torch.nn.Module:
    return model.visual.transformer


def _text(model: torch.nn.Module, tokenizer) -> TextTransformer:
    project = model.text_projection
    return TextTransformer(
        tokenize=tokenizer,
        end=first_largest,
        embed=model.token_embedding,
        pos=model.positional_embedding,
        blocks=[_block(block) for block in model.transformer.resblocks],
        ln_final=model.ln_final,
        proj=project if isinstance(project, torch.nn.Module) else partial(_matmul, weight=project),
    )


def _vision(model: torch.nn.Module, pool) -> VisionTransformer:
    visual = model.visual
    return VisionTransformer(
        patch_embed=visual.conv1,
        patch_size=visual.patch_size[0],
        cls=visual.class_embedding,
        pos=visual.positional_embedding,
        ln_pre=visual.ln_pre,
        blocks=[_block(block) for block in visual.transformer.resblocks],
        ln_post=visual.ln_post,
        proj=identity if visual.proj is None else partial(_matmul, weight=visual.proj),
        pool=pool and pool(model),
    )


def _matmul(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x @ weight


def _block(block: torch.nn.Module) -> Block:
    attention, mlp = block.attn, block.mlp
    own = ACTIVATIONS.get(_ACTIVATIONS.get(type(mlp.gelu).__name__), mlp.gelu)

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
