"""A CLIP of plain transformers as modules, with open_clip's names for its tensors.

Weights files are loaded into it: open_clip imports torchvision, timm and transformers, which takes
seconds and a weights file does not need. The modules here only hold parameters;
`vlad.backbones.vit` and `vlad.backbones.text` run them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from types import SimpleNamespace

import torch
from torch import nn

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of OpenAI's training images for CLIP
STD = (0.26862954, 0.26130258, 0.27577711)

_KNOWN = {
    "": {"embed_dim", "quick_gelu"},
    "vision_cfg": {"image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size"},
    "text_cfg": {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"},
}


def is_plain(config: Mapping) -> bool:
    """Return whether everything in an open_clip model config is supported here."""
    vision, text = config.get("vision_cfg"), config.get("text_cfg")
    if not isinstance(vision, Mapping) or not isinstance(text, Mapping):
        return False
    parts = {"vision_cfg": vision, "text_cfg": text}
    parts[""] = {name: value for name, value in config.items() if name not in parts}
    return isinstance(config.get("embed_dim"), int) and all(
        part.keys() <= _KNOWN[name] and all(isinstance(v, int | float) for v in part.values())
        for name, part in parts.items()
    )


class QuickGELU(nn.Module):
    """The approximation of GELU in OpenAI's CLIP."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


class PlainCLIP(nn.Module):
    """The tensors of a CLIP, without values until a state dict is loaded.

    Args:
        config: an open_clip model config for which `is_plain` is true.
    """

    def __init__(self, config: Mapping):
        super().__init__()
        text = {"width": 512, "heads": 8, "layers": 12, "vocab_size": 49408, "mlp_ratio": 4.0}
        text |= {"context_length": 77} | dict(config["text_cfg"])
        act = QuickGELU if config.get("quick_gelu") else nn.GELU
        shape = SimpleNamespace(**text)
        with torch.device("meta"):
            self.visual = _Vision(config["embed_dim"], config["vision_cfg"], act)
            self.transformer = Transformer(
                shape.width, shape.layers, shape.heads, shape.mlp_ratio, act
            )
            # initialising values, even on "meta", would import half of torch's compiler
            table = torch.empty(shape.vocab_size, shape.width)
            self.token_embedding = nn.Embedding(shape.vocab_size, shape.width, _weight=table)
            self.positional_embedding = parameter(shape.context_length, shape.width)
            self.ln_final = nn.LayerNorm(shape.width)
            self.text_projection = parameter(shape.width, config["embed_dim"])
            self.logit_scale = parameter()


class _Vision(nn.Module):
    def __init__(self, embed_dim: int, config: Mapping, act: type[nn.Module]):
        super().__init__()
        shape = SimpleNamespace(
            **{"image_size": 224, "layers": 12, "width": 768, "head_width": 64}
            | {"mlp_ratio": 4.0, "patch_size": 16}
            | dict(config)
        )
        self.image_size = (shape.image_size, shape.image_size)
        self.patch_size = (shape.patch_size, shape.patch_size)
        self.output_dim = embed_dim
        patches = (shape.image_size // shape.patch_size) ** 2
        self.class_embedding = parameter(shape.width)
        self.positional_embedding = parameter(1 + patches, shape.width)
        self.proj = parameter(shape.width, embed_dim)
        self.conv1 = nn.Conv2d(3, shape.width, shape.patch_size, shape.patch_size, bias=False)
        self.ln_pre = nn.LayerNorm(shape.width)
        heads = shape.width // shape.head_width
        self.transformer = Transformer(shape.width, shape.layers, heads, shape.mlp_ratio, act)
        self.ln_post = nn.LayerNorm(shape.width)


class Transformer(nn.Module):
    """The blocks of a transformer, as modules that only hold parameters."""

    def __init__(self, width: int, layers: int, heads: int, ratio: float, act: type[nn.Module]):
        super().__init__()
        self.resblocks = nn.ModuleList(_Block(width, heads, ratio, act) for _ in range(layers))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, ratio: float, act: type[nn.Module]):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads)
        self.ls_1 = nn.Identity()
        self.ln_2 = nn.LayerNorm(width)
        inner = int(width * ratio)
        mlp = {"c_fc": nn.Linear(width, inner), "gelu": act(), "c_proj": nn.Linear(inner, width)}
        self.mlp = nn.Sequential(OrderedDict(mlp))
        self.ls_2 = nn.Identity()


def parameter(*shape: int) -> nn.Parameter:
    """A tensor of this shape, without values on the device "meta"."""
    return nn.Parameter(torch.empty(shape))
