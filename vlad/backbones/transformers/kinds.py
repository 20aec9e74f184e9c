"""The types of model in transformers that vlad loads, by the model_type of their config.json."""

from __future__ import annotations

from vlad.backbones.transformers import aimv2, clip, dino, radio, siglip, timm, vit
from vlad.backbones.transformers.kind import Kind

KINDS: dict[str, Kind] = {
    "clip": clip.CLIP,
    "clip_vision_model": clip.CLIP_VISION,
    "metaclip_2": clip.METACLIP_2,
    "altclip": clip.ALTCLIP,
    "chinese_clip": clip.CHINESE_CLIP,
    "chinese_clip_vision_model": clip.CHINESE_CLIP_VISION,
    "siglip": siglip.SIGLIP,
    "siglip_vision_model": siglip.SIGLIP_VISION,
    "siglip2": siglip.SIGLIP_2,
    "siglip2_vision_model": siglip.SIGLIP_2_VISION,
    "dinov2": dino.DINOV2,
    "dinov2_with_registers": dino.DINOV2_REGISTERS,
    "dinov3_vit": dino.DINOV3,
    "dinov3_convnext": dino.DINOV3_CONVNEXT,
    "tipsv2": dino.TIPSV2,
    "tipsv2_vision_model": dino.TIPSV2_VISION,
    "vit": vit.VIT,
    "vit_mae": vit.VIT_MAE,
    "ijepa": vit.IJEPA,
    "aimv2": aimv2.AIMV2,
    "aimv2_vision_model": aimv2.AIMV2_VISION,
    "radio": radio.RADIO,
    "timm_wrapper": timm.TIMM_WRAPPER,
}
