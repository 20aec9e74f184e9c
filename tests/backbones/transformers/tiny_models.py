"""A small random model of every type that vlad loads, and the outputs of transformers for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from case import SENTENCES, randomise
from tokenizers import Tokenizer, models, pre_tokenizers, processors

VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
END = 63  # of a text, the largest number as in CLIP's vocabulary
TEXT = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "vocab_size": 64,
    "max_position_embeddings": 20,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": END,
}
DINO = {k: v for k, v in VISION.items() if k != "intermediate_size"} | {
    "mlp_ratio": 2,
    "layerscale_value": 0.5,
}
OWN, OTHERS = (32, 32), ((48, 48), (24, 40))


@dataclass
class Tiny:
    """A model and how transformers gives what vlad has to equal.

    Attributes:
        model: random, in evaluation mode.
        prefix: tokens before the patches.
        hidden: pixels -> output of every block.
        embedding: pixels -> (B, D).
        sizes: at which transformers itself runs as vlad does.
        pad: how its processor pads sentences; None without a text encoder.
    """

    model: Any
    hidden: Callable[[torch.Tensor], list[torch.Tensor]]
    embedding: Callable[[torch.Tensor], torch.Tensor]
    sizes: tuple[tuple[int, int], ...] = (OWN, *OTHERS)
    pad: str | None = None
    folder: Path | None = None

    def text(self, sentences: list[str]) -> torch.Tensor:
        limit = self.model.config.text_config.max_position_embeddings
        read = transformers.AutoTokenizer.from_pretrained(self.folder)
        tokens = read(sentences, padding=self.pad, max_length=limit, return_tensors="pt").data
        tokens.pop("token_type_ids", None)
        found = self.model.get_text_features(**tokens)
        return found if torch.is_tensor(found) else found.pooler_output

    def save(self, folder: Path) -> Path:
        self.model.save_pretrained(folder)
        if self.pad:
            tokenizer().save_pretrained(folder)
        self.folder = folder
        return folder


def tokenizer() -> Any:
    """One that knows the words of the tests, with numbers below 64."""
    sentences = [*SENTENCES, "flawless broken X"]
    words = sorted({word for s in sentences for word in s.replace(".", " .").split()})
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": END, "<unk>": 3}
    vocabulary |= {word: number for number, word in enumerate(words, start=4)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", END)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )


def _tiny(config: Any, prefix: int = 1, pad: str | None = None, **given: Any) -> Tiny:
    """One whose forward pass takes pixels alone, or is told to resize its positions."""
    model = randomise(given.pop("cls", transformers.AutoModel.from_config)(config))
    vision = getattr(model, "vision_model", model)
    resize = given.pop("resize", {"interpolate_pos_encoding": True})

    def hidden(pixels: torch.Tensor) -> list[torch.Tensor]:
        states = vision(pixels, output_hidden_states=True, **resize).hidden_states
        return [state[:, prefix:] for state in states[1:]]

    def embedding(pixels: torch.Tensor) -> torch.Tensor:
        if hasattr(model, "get_image_features"):
            return model.get_image_features(pixels, **resize).pooler_output
        return model(pixels, **resize).pooler_output

    return Tiny(model, **{"hidden": hidden, "embedding": embedding, "pad": pad} | given)


def _both(made: type, pad: str = "longest", text: dict | None = None, **given: Any) -> Tiny:
    parts = {"vision_config": VISION, "text_config": TEXT | (text or {})}
    extra = {} if pad == "max_length" else {"projection_dim": 20}
    return _tiny(made(**parts, **extra), pad=pad, **given)


def clip() -> Tiny:
    return _both(transformers.CLIPConfig)


def clip_with_old_end() -> Tiny:
    return _both(transformers.CLIPConfig, text={"eos_token_id": 2})


def clip_vision_model() -> Tiny:
    return _tiny(transformers.CLIPVisionConfig(**VISION))


def clip_vision_projected() -> Tiny:
    config = transformers.CLIPVisionConfig(**VISION, projection_dim=20)
    found = _tiny(config, cls=transformers.CLIPVisionModelWithProjection)
    model = found.model
    found.embedding = lambda pixels: model(pixels, interpolate_pos_encoding=True).image_embeds
    return found


def metaclip_2() -> Tiny:
    return _both(transformers.MetaClip2Config)


def altclip() -> Tiny:
    return _both(transformers.AltCLIPConfig, text={"project_dim": 28})


def chinese_clip() -> Tiny:
    return _both(transformers.ChineseCLIPConfig)


def chinese_clip_vision_model() -> Tiny:
    return _tiny(transformers.ChineseCLIPVisionConfig(**VISION))


def siglip() -> Tiny:
    text = {"projection_size": 32}
    return _both(transformers.SiglipConfig, "max_length", text, prefix=0)


def siglip_vision_model() -> Tiny:
    return _tiny(transformers.SiglipVisionConfig(**VISION), prefix=0)


def siglip_vision_without_head() -> Tiny:
    config = transformers.SiglipVisionConfig(**VISION, vision_use_head=False)
    return _averaged(_tiny(config, prefix=0), interpolate_pos_encoding=True)


def _averaged(found: Tiny, **resize: Any) -> Tiny:
    found.embedding = lambda pixels: found.model(pixels, **resize).last_hidden_state.mean(dim=1)
    return found


def _free(model: Any, pad: str | None = None) -> Tiny:
    """NaFlex, of which the library cuts images into patches before its pass."""
    vision = getattr(model, "vision_model", model)

    def run(pixels: torch.Tensor) -> Any:
        images, _, height, width = pixels.shape
        patches = torch.stack(
            [
                pixels[:, :, y : y + 8, x : x + 8].permute(0, 2, 3, 1).flatten(1)
                for y in range(0, height, 8)
                for x in range(0, width, 8)
            ],
            dim=1,
        )
        shapes = torch.tensor([[height // 8, width // 8]] * images)
        mask = torch.ones(patches.shape[:2], dtype=torch.long)
        return vision(patches, mask, shapes, output_hidden_states=True)

    return Tiny(
        model,
        lambda pixels: list(run(pixels).hidden_states[1:]),
        lambda pixels: run(pixels).pooler_output,
        pad=pad,
    )


FREE = {k: v for k, v in VISION.items() if k != "image_size"} | {"num_patches": 16}


def siglip2() -> Tiny:
    text = TEXT | {"projection_size": 32}
    config = transformers.Siglip2Config(vision_config=FREE, text_config=text)
    return _free(randomise(transformers.Siglip2Model(config)), "max_length")


def siglip2_vision_model() -> Tiny:
    config = transformers.Siglip2VisionConfig(**FREE)
    return _free(randomise(transformers.Siglip2VisionModel(config)))


def dinov2() -> Tiny:
    """Other sizes are checked apart, as vlad resizes as the authors do."""
    return _tiny(transformers.Dinov2Config(**DINO), resize={}, sizes=(OWN,))


def dinov2_swiglu() -> Tiny:
    config = transformers.Dinov2Config(**DINO, use_swiglu_ffn=True)
    return _tiny(config, resize={}, sizes=(OWN,))


def dinov2_with_registers() -> Tiny:
    config = transformers.Dinov2WithRegistersConfig(**DINO, num_register_tokens=4)
    return _tiny(config, prefix=5, resize={})


def dinov3_vit() -> Tiny:
    config = transformers.DINOv3ViTConfig(**VISION, num_register_tokens=4, key_bias=False)
    return _tiny(config, prefix=5, resize={})


def dinov3_vit_gated() -> Tiny:
    config = transformers.DINOv3ViTConfig(**VISION, num_register_tokens=0, use_gated_mlp=True)
    return _tiny(config, resize={})


def dinov3_convnext() -> Tiny:
    config = transformers.DINOv3ConvNextConfig(
        hidden_sizes=[16, 24, 32, 40],
        depths=[1, 1, 2, 1],
        image_size=64,
        layer_scale_init_value=0.5,
    )
    model = randomise(transformers.DINOv3ConvNextModel(config))
    return Tiny(
        model,
        lambda pixels: list(model(pixels, output_hidden_states=True).hidden_states[1:]),
        lambda pixels: model(pixels).pooler_output,
        ((64, 64), (96, 32)),
    )


def tipsv2() -> Tiny:
    vision = DINO | {"num_register_tokens": 1}
    text = TEXT | {"hidden_size": 32}
    config = transformers.Tipsv2Config(vision_config=vision, text_config=text)
    return _tiny(config, prefix=2, resize={}, pad="longest")


def tipsv2_vision_model() -> Tiny:
    config = transformers.Tipsv2VisionConfig(**DINO, num_register_tokens=1, use_swiglu_ffn=True)
    return _tiny(config, prefix=2, resize={})


def vit() -> Tiny:
    found = _tiny(transformers.ViTConfig(**VISION))
    model = found.model
    found.embedding = lambda pixels: model(pixels, interpolate_pos_encoding=True).last_hidden_state[
        :, 0
    ]
    return found


def vit_mae() -> Tiny:
    """The library's own pass with nothing masked and no shuffling."""
    model = randomise(transformers.ViTMAEModel(transformers.ViTMAEConfig(**VISION, mask_ratio=0.0)))

    def run(pixels: torch.Tensor) -> Any:
        count = pixels.shape[-2] * pixels.shape[-1] // 64
        order = torch.arange(count).float().expand(len(pixels), -1)
        return model(pixels, noise=order, interpolate_pos_encoding=True, output_hidden_states=True)

    return Tiny(
        model,
        lambda pixels: [state[:, 1:] for state in run(pixels).hidden_states[1:]],
        lambda pixels: run(pixels).last_hidden_state[:, 0],
    )


def ijepa() -> Tiny:
    found = _tiny(transformers.IJepaConfig(**VISION), prefix=0)
    return _averaged(found, interpolate_pos_encoding=True)


AIM = {"hidden_act": "silu", "rms_norm_eps": 1e-5}


def aimv2() -> Tiny:
    """Of learned positions, which the library does not resize."""
    parts = {"vision_config": VISION | AIM, "text_config": TEXT | AIM}
    config = transformers.Aimv2Config(**parts, projection_dim=20)
    return _tiny(config, prefix=0, resize={}, pad="longest", sizes=(OWN,))


def aimv2_vision_model() -> Tiny:
    config = transformers.Aimv2VisionConfig(**VISION, **AIM, is_native=True)
    return _tiny(config, prefix=0, resize={})


def aimv2_without_head() -> Tiny:
    config = transformers.Aimv2VisionConfig(**VISION, **AIM, is_native=True, use_head=False)
    return _averaged(_tiny(config, prefix=0, resize={}))


def radio() -> Tiny:
    config = transformers.RadioConfig(
        **{k: v for k, v in VISION.items() if k != "intermediate_size"},
        mlp_ratio=2.0,
        max_img_size=64,
        num_cls_tokens=3,
        num_registers=2,
        summary_idxs=[0, 2],
    )
    found = _tiny(config, prefix=5, resize={})
    found.embedding = lambda pixels: found.model(pixels).summary
    model, (mean, std) = found.model.input_conditioner, (config.norm_mean, config.norm_std)
    model.norm_mean.copy_(torch.tensor(mean).view(-1, 1, 1))
    model.norm_std.copy_(torch.tensor(std).view(-1, 1, 1))
    return found


def _wrapped(architecture: str, sizes: tuple, **args: Any) -> Any:
    """The model, and all that timm itself gives of it."""
    config = transformers.TimmWrapperConfig(architecture=architecture, model_args=args)
    model = randomise(transformers.TimmWrapperModel(config))
    return Tiny(
        model,
        lambda pixels: list(model(pixels, output_hidden_states=True).hidden_states),
        lambda pixels: model(pixels).pooler_output,
        sizes,
    )


def timm_wrapper() -> Tiny:
    args = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 32, "patch_size": 8}
    found = _wrapped("vit_tiny_patch16_224", (OWN,), **args)
    maps = found.hidden
    found.hidden = lambda pixels: [x.flatten(2).transpose(1, 2) for x in maps(pixels)]
    return found


def timm_wrapper_of_a_cnn() -> Tiny:
    """Its first map is that of the stem, which is no block of vlad's."""
    found = _wrapped("resnet18", ((224, 224), (96, 64)), channels=(8, 16, 24, 32))
    maps = found.hidden
    found.hidden = lambda pixels: maps(pixels)[1:]
    return found


TINY: dict[str, Callable[[], Tiny]] = {
    made.__name__: made
    for made in (
        clip, clip_with_old_end, clip_vision_model, clip_vision_projected, metaclip_2, altclip,
        chinese_clip, chinese_clip_vision_model, siglip, siglip_vision_model,
        siglip_vision_without_head, siglip2, siglip2_vision_model, dinov2, dinov2_swiglu,
        dinov2_with_registers, dinov3_vit, dinov3_vit_gated, dinov3_convnext, tipsv2,
        tipsv2_vision_model, vit, vit_mae, ijepa, aimv2, aimv2_vision_model, aimv2_without_head,
        radio, timm_wrapper, timm_wrapper_of_a_cnn,
    )
}  # fmt: skip
