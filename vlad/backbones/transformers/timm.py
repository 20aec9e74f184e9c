"""Models of timm in the wrapper of transformers, run by timm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from vlad.backbones.generic import GenericEncoder
from vlad.backbones.transformers.kind import IMAGENET_LOOK, Kind
from vlad.errors import BackboneError
from vlad.types import BackboneInfo

# arguments of timm.create_model that would read another file than the folder's weights
FILES = ("checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def _check(name: str, config: dict) -> None:
    import timm

    architecture, given = config.get("architecture"), config.get("model_args") or {}
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        raise BackboneError(
            f"The architecture {architecture!r} of {name} is unknown to timm {timm.__version__}: "
            "correct its config.json, or install a newer timm."
        )
    if not isinstance(given, dict) or set(given) & {*FILES, "features_only"}:
        raise BackboneError(
            f"model_args in the config.json of {name} may change the architecture only, not what is "
            "read or returned; correct it."
        )


def _on_meta(config: Any) -> Any:
    import transformers

    with torch.device("meta"):
        return transformers.AutoModel.from_config(config).timm_model


def _info(name: str, config: Any) -> BackboneInfo:
    model = _on_meta(config)
    about = (config.pretrained_cfg if hasattr(config, "pretrained_cfg") else None) or {}
    channels, strides = _shapes(model)
    size = (about.get("input_size") or model.default_cfg["input_size"])[-1]
    fixed = getattr(model, "patch_embed", None) is not None and not _resizes(model)
    return BackboneInfo(
        name=name,
        depth=len(channels),
        width=channels[-1],
        embed_dim=getattr(model, "head_hidden_size", None) or model.num_features,
        patch_size=strides[-2:][0],
        image_size=size,
        has_text=False,
        has_cls=False,
        capabilities=frozenset(),
        widths=tuple(channels) if len(set(channels)) > 1 else (),
        step=max(strides),
        fixed_size=fixed,
    )


def _shapes(model: Any) -> tuple[list[int], list[int]]:
    about = model.feature_info
    entries = about.info if hasattr(about, "info") else about
    return [x["num_chs"] for x in entries], [x["reduction"] for x in entries]


def _resizes(model: Any) -> bool:
    return bool(getattr(model, "dynamic_img_size", False))


def _encoder(model: Any) -> GenericEncoder:
    wrapped = model.timm_model
    channels, strides = _shapes(wrapped)

    def run(
        pixels: torch.Tensor, blocks: Sequence[int], image: bool
    ) -> tuple[Mapping[int, torch.Tensor], torch.Tensor | None]:
        wanted = [n - 1 for n in blocks]
        last, maps = (
            wrapped.forward_intermediates(
                pixels, indices=wanted or [0], output_fmt="NCHW", stop_early=not image
            )
            if wanted
            else (wrapped.forward_features(pixels), [])
        )
        embedding = wrapped.forward_head(last, pre_logits=True) if image else None
        return dict(zip(blocks, maps, strict=True)), embedding

    return GenericEncoder(run, len(channels), strides[-2:][0], max(strides))


TIMM_WRAPPER = Kind(_info, _encoder, None, IMAGENET_LOOK, check=_check)
