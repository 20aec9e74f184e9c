"""Models of timm in the wrapper of transformers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from vlad.backbones.block import identity
from vlad.backbones.generic import GenericEncoder
from vlad.backbones.transformers.kind import IMAGENET_LOOK, Kind
from vlad.backbones.vit import VisionTransformer
from vlad.errors import BackboneError
from vlad.types import BackboneInfo

# arguments of timm.create_model that would read another file than the folder's weights, or return
# something else than a network with a pool
FORBIDDEN = (
    "checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir",
    "features_only",
)  # fmt: skip


def _check(name: str, config: dict) -> None:
    from vlad.backbones.timm import check_config

    given = config.get("model_args") or {}
    if not isinstance(given, dict) or set(given) & set(FORBIDDEN):
        raise BackboneError(
            f"model_args in the config.json of {name} must not have {', '.join(FORBIDDEN)}; remove "
            "them."
        )
    check_config(Path(name), config | {"model_args": given})


def _info(name: str, config: Any) -> BackboneInfo:
    import transformers

    from vlad.backbones.timm import encoder

    with torch.device("meta"):  # shapes without values
        model = transformers.AutoModel.from_config(config).timm_model
    about = getattr(config, "pretrained_cfg", None) or model.pretrained_cfg
    return encoder.info(
        name,
        model,
        embed_dim=model.head_hidden_size,
        image_size=about["input_size"][-1],
        fixed_size=bool(about.get("fixed_input_size")),
    )


def _encoder(model: Any) -> VisionTransformer | GenericEncoder:
    from vlad.backbones.timm import encoder

    return encoder.build(model.timm_model, identity, partial(encoder.pooled, model.timm_model))


def _blocks(model: Any) -> torch.nn.Module:
    """Those of a plain vision transformer; torch's autocast casts the others."""
    from vlad.backbones.timm import native

    return model.timm_model.blocks if native.is_plain(model.timm_model) else torch.nn.Identity()


TIMM_WRAPPER = Kind(_info, _encoder, _blocks, IMAGENET_LOOK, check=_check)
