"""Small random repositories of backbones, with the files and keys of the released ones."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file, save
from timm.models._hub import save_config_for_hf
from words_of_layouts import Files, as_json, bert_tokenizer, bpe, clip_tokenizer, pieces

from vlad.backbones.open_clip import build

UNUSED = {"README.md": b"---\nlicense: mit\n---\n", "flax_model.msgpack": b"x" * 50}
VISION = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
WORDS = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
    "vocab_size": 400, "max_position_embeddings": 64, "pad_token_id": 1,
}  # fmt: skip
DINO = VISION | {"mlp_ratio": 2}
CLIP_VISION = {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16}
CLIP_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
SIGLIP_VISION = {
    "image_size": 160, "timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none",
}  # fmt: skip
OPENAI_LOOK = (0.48145466, 0.26862954, "bicubic", 32)
SIGLIP_TEXT = {
    "context_length": 64, "vocab_size": 400, "width": 64, "heads": 2, "layers": 1,
    "no_causal_mask": True, "proj_bias": True, "pool_type": "last",
    "tokenizer_kwargs": {"clean": "canonicalize"},
}  # fmt: skip


@dataclass
class Layout:
    """A backbone and the repositories that it comes from.

    Attributes:
        name: as users type it.
        repositories: name -> its files.
        needed: those of them that loading downloads, as repository/file.
        configs: of architectures of open_clip, to make them small.
        text: whether it reads sentences.
        reads: mean and standard deviation of red, interpolation, and side of the images it reads.
    """

    name: str
    repositories: dict[str, Files]
    needed: set[str]
    configs: dict[str, dict] = field(default_factory=dict)
    text: bool = True
    reads: tuple[float, float, str, int] = (0.48, 0.25, "bicubic", 32)


def as_bin(state: dict[str, torch.Tensor]) -> bytes:
    torch.save(state, buffer := BytesIO())
    return buffer.getvalue()


def drawn(model: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for values in model.parameters():
            values.copy_(0.2 * torch.randn(values.shape, generator=generator))
    return model.eval()


def written(*things: Any, **options: Any) -> Files:
    """What they save in a folder."""
    with tempfile.TemporaryDirectory() as folder:
        for thing in things:
            thing.save_pretrained(folder, **(options if isinstance(thing, torch.nn.Module) else {}))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def old_config(files: Files) -> Files:
    """With the keys of config.json that transformers wrote when the models were released."""
    config = json.loads(files["config.json"])
    config["torch_dtype"] = config.pop("dtype", "float32")
    config["transformers_version"] = "4.30.0"
    return files | {"config.json": as_json(config)}


def look(mean: float, resample: int, **more: Any) -> Files:
    made = {"do_normalize": True, "do_rescale": True, "do_resize": True, "resample": resample}
    made |= {"image_mean": [mean] * 3, "image_std": [0.25, 0.26, 0.27], "rescale_factor": 1 / 255}
    return {
        "preprocessor_config.json": as_json(made | {"size": {"height": 32, "width": 32}} | more)
    }


# transformers


def parts(made: type, text: dict | None = None, **more: Any) -> Any:
    model_text = WORDS | (text or {})
    return drawn(
        transformers.AutoModel.from_config(
            made(vision_config=VISION, text_config=model_text, **more)
        )
    )


def of_clip() -> Layout:
    """openai/clip-vit-base-patch16: weights in a .bin file only, in half precision."""
    ids = bpe("<|startoftext|>", "<|endoftext|>", "").token_to_id
    ends = {"bos_token_id": ids("<|startoftext|>"), "eos_token_id": ids("<|endoftext|>")}
    model = parts(transformers.CLIPConfig, ends, projection_dim=20)
    files = old_config(written(model))
    state = load_file_of(files.pop("model.safetensors"))
    half = {name: x.half() if x.is_floating_point() else x for name, x in state.items()}
    files |= look(0.48, 3, crop_size=32, do_center_crop=True, size=32) | clip_tokenizer()
    files |= {"pytorch_model.bin": as_bin(half), "tf_model.h5": b"x" * 50}
    needed = {
        "config.json", "preprocessor_config.json", "pytorch_model.bin", "tokenizer_config.json",
        "special_tokens_map.json", "tokenizer.json", "vocab.json", "merges.txt",
    }  # fmt: skip
    return one("openai/clip-vit-base-patch16", files, needed)


def load_file_of(content: bytes) -> dict[str, torch.Tensor]:
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(content)
        file.flush()
        return {name: x.clone() for name, x in load_file(file.name).items()}


def one(name: str, files: Files, needed: set[str], typed: str = "", **more: Any) -> Layout:
    """A backbone of one repository."""
    paths = {f"{name}/{file}" for file in needed}
    return Layout(typed or name, {name: UNUSED | files}, paths, **more)


SIGLIP_NEEDED = {
    "config.json", "preprocessor_config.json", "model.safetensors", "tokenizer_config.json",
    "special_tokens_map.json", "tokenizer.json",
}  # fmt: skip


def of_siglip() -> Layout:
    """google/siglip-base-patch16-224, of which the tokenizer needs SentencePiece."""
    model = parts(transformers.SiglipConfig, {"projection_size": 32})
    files = old_config(written(model)) | look(0.5, 3)
    files |= pieces("SiglipTokenizer", "spiece.model")
    return one("google/siglip-base-patch16-224", files, SIGLIP_NEEDED | {"spiece.model"})


def of_siglip_2_in_shards() -> Layout:
    """google/siglip2-giant-opt-patch16-256: of type siglip, tokenizer of Gemma, several files."""
    model = parts(transformers.SiglipConfig, {"projection_size": 32})
    files = old_config(written(model, max_shard_size="60KB")) | look(0.5, 2)
    files |= pieces("GemmaTokenizer", "tokenizer.model")
    shards = {file for file in files if file.startswith("model")}
    assert len(shards) > 2
    needed = SIGLIP_NEEDED - {"model.safetensors"} | shards
    reads = (0.5, 0.25, "bilinear", 32)
    return one("google/siglip2-giant-opt-patch16-256", files, needed, reads=reads)


def of_dinov2() -> Layout:
    """facebook/dinov2-small: the same weights in two formats."""
    files = old_config(written(drawn(transformers.Dinov2Model(transformers.Dinov2Config(**DINO)))))
    files |= {"pytorch_model.bin": as_bin(load_file_of(files["model.safetensors"]))}
    files |= look(0.48, 3, crop_size={"height": 32, "width": 32}, size={"shortest_edge": 36})
    needed = {"config.json", "preprocessor_config.json", "model.safetensors"}
    return one("facebook/dinov2-small", files, needed, text=False)


def of_registers() -> Layout:
    """facebook/dinov2-with-registers-base."""
    config = transformers.Dinov2WithRegistersConfig(**DINO, num_register_tokens=4)
    files = written(drawn(transformers.Dinov2WithRegistersModel(config))) | look(0.48, 3)
    needed = {"config.json", "preprocessor_config.json", "model.safetensors"}
    return one("facebook/dinov2-with-registers-base", files, needed, text=False)


def of_dinov3() -> Layout:
    """facebook/dinov3-vits16-pretrain-lvd1689m, which is gated."""
    config = transformers.DINOv3ViTConfig(**VISION, num_register_tokens=4, key_bias=False)
    files = written(drawn(transformers.DINOv3ViTModel(config))) | look(0.48, 2)
    needed = {"config.json", "preprocessor_config.json", "model.safetensors"}
    name, bilinear = "facebook/dinov3-vits16-pretrain-lvd1689m", (0.48, 0.25, "bilinear", 32)
    return one(name, files, needed, text=False, reads=bilinear)


def of_no_look() -> Layout:
    """A model that someone pushed without its image processor, of which the kind's look is used."""
    files = written(drawn(transformers.ViTModel(transformers.ViTConfig(**VISION))))
    needed, of_kind = {"config.json", "model.safetensors"}, (0.5, 0.5, "bilinear", 32)
    return one("me/vit", files, needed, text=False, reads=of_kind)


# open_clip


def clip_config(vision: dict, text: dict, **more: Any) -> dict:
    return {
        "embed_dim": 64 if vision is SIGLIP_VISION else 24,
        "vision_cfg": vision,
        "text_cfg": text,
    } | more


def open_clip_files(config: dict, look: dict, half: bool = False) -> tuple[Files, dict]:
    """The config that its repository holds, and its tensors."""
    state = {k: x.contiguous() for k, x in drawn(build(config)).state_dict().items()}
    if half:
        state = {k: x.half() if x.is_floating_point() else x for k, x in state.items()}
    return {"open_clip_config.json": as_json({"model_cfg": config, "preprocess_cfg": look})}, state


def of_openai() -> Layout:
    """timm/vit_large_patch14_clip_336.openai: two layouts, each in two formats; QuickGELU."""
    config = clip_config(CLIP_VISION, CLIP_TEXT)
    files, state = open_clip_files(config | {"quick_gelu": True}, {"mean": [0.48] * 3}, half=True)
    files |= {
        "open_clip_model.safetensors": save(state),
        "open_clip_pytorch_model.bin": as_bin(state),
    }
    files |= {"config.json": as_json({"architecture": "vit_large_patch14_clip_336"})}
    files |= {"model.safetensors": b"of timm", "pytorch_model.bin": b"of timm"} | clip_tokenizer()
    name = "timm/vit_large_patch14_clip_336.openai"
    needed = {"open_clip_model.safetensors"}
    made = one(name, files, needed, "ViT-L-14-336/openai", reads=OPENAI_LOOK)
    made.configs = {"ViT-L-14-336": config}
    return made


def of_laion() -> Layout:
    """apple/DFN2B-CLIP-ViT-B-16: open_clip_pytorch_model.bin only."""
    config = clip_config(CLIP_VISION, CLIP_TEXT)
    files, state = open_clip_files(config | {"quick_gelu": True}, {})
    files |= {"open_clip_pytorch_model.bin": as_bin(state)}
    needed = {"open_clip_pytorch_model.bin"}
    configs = {"ViT-B-16": config}
    return one("apple/DFN2B-CLIP-ViT-B-16", files, needed, "ViT-B-16/dfn2b", configs=configs)


def of_vitamin() -> Layout:
    """jienengchen/ViTamin-S: pytorch_model.bin, and no config of open_clip."""
    vision = {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "token"}
    config = clip_config(vision, CLIP_TEXT, custom_text=True)
    _, state = open_clip_files(config, {})
    files = {"pytorch_model.bin": as_bin(state), "config.json": as_json({"model_type": "vitamin"})}
    configs = {"ViTamin-S": config}
    needed = {"pytorch_model.bin"}
    made = one("jienengchen/ViTamin-S", files, needed, "ViTamin-S/datacomp1b", configs=configs)
    made.reads = (*OPENAI_LOOK[:3], 160)
    return made


def of_timm_siglip() -> Layout:
    """timm/ViT-B-16-SigLIP2-256: the tokenizer in the repository of the weights."""
    name = "timm/ViT-B-16-SigLIP2-256"
    text = SIGLIP_TEXT | {"hf_tokenizer_name": name}
    config = clip_config(SIGLIP_VISION, text, custom_text=True, init_logit_bias=-10)
    half = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    files, state = open_clip_files(config, half)
    files |= {
        "open_clip_model.safetensors": save(state),
        "open_clip_pytorch_model.bin": as_bin(state),
    }
    files |= pieces("GemmaTokenizer", "tokenizer.model")
    needed = {
        "open_clip_model.safetensors", "tokenizer_config.json", "tokenizer.json",
        "special_tokens_map.json",
    }  # fmt: skip
    configs = {"ViT-B-16-SigLIP2-256": config}
    reads = (0.5, 0.5, "bicubic", 160)
    return one(name, files, needed, "ViT-B-16-SigLIP2-256/webli", configs=configs, reads=reads)


def of_clipa() -> Layout:
    """UCSC-VLAA/ViT-L-14-CLIPA-datacomp1B: the tokenizer in another repository, renamed since."""
    text = CLIP_TEXT | {
        "hf_tokenizer_name": "bert-base-uncased", "vocab_size": 400, "context_length": 32,
        "tokenizer_kwargs": {"strip_sep_token": True}, "pool_type": "last", "no_causal_mask": True,
    }  # fmt: skip
    config = clip_config(CLIP_VISION, text)
    files, state = open_clip_files(config, {})
    files |= {"open_clip_pytorch_model.bin": as_bin(state)}
    name = "UCSC-VLAA/ViT-L-14-CLIPA-datacomp1B"
    made = one(name, files, {"open_clip_pytorch_model.bin"}, "ViT-L-14-CLIPA/datacomp1b")
    made.configs, made.reads = {"ViT-L-14-CLIPA": config}, (0.485, 0.229, "bilinear", 32)
    made.repositories["bert-base-uncased"] = bert_tokenizer()
    words = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
    made.needed |= {f"bert-base-uncased/{file}" for file in words}
    return made


def of_roberta() -> Layout:
    """laion/CLIP-ViT-B-32-roberta-base-laion2B-s12B-b32k, and one like it with another text."""
    made = transformers.RobertaConfig(
        vocab_size=400, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, pad_token_id=0, max_position_embeddings=100,
    )  # fmt: skip
    words = {"config.json": as_json(made.to_dict())} | clip_tokenizer()
    text = {"hf_model_name": "roberta-base", "hf_tokenizer_name": "roberta-base"}
    text |= {"hf_pooler_type": "mean_pooler", "context_length": 77}
    config = clip_config(CLIP_VISION, text)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        Path(folder, "config.json").write_bytes(words["config.json"])
        patch.setattr("vlad.backbones.open_clip._public_texts", lambda: {folder})
        local = config | {"text_cfg": text | {"hf_model_name": folder}}
        state = drawn(build(local)).state_dict()
    layout = one(
        "laion/CLIP-ViT-B-32-roberta-base-laion2B-s12B-b32k",
        {"open_clip_pytorch_model.bin": as_bin(state)},
        set(),
        "roberta-ViT-B-32/laion2b_s12b_b32k",
        configs={"roberta-ViT-B-32": config},
    )
    other = {"model_cfg": config | {"text_cfg": text | {"hf_model_name": "me/roberta"}}}
    biomed = {"open_clip_config.json": as_json(other), "open_clip_model.safetensors": b"weights"}
    layout.repositories |= {"roberta-base": words, "me/biomed": biomed}
    return layout


def of_mine_by_open_clip() -> Layout:
    """A model that someone trained and pushed with open_clip."""
    config = clip_config(CLIP_VISION, CLIP_TEXT, quick_gelu=True)
    said = {"mean": [0.3] * 3, "std": [0.2] * 3, "interpolation": "bilinear"}
    files, state = open_clip_files(config, said)
    files |= {
        "open_clip_model.safetensors": save(state),
        "open_clip_pytorch_model.bin": b"the same",
    }
    needed = {"open_clip_config.json", "open_clip_model.safetensors"}
    return one("me/clip", files, needed, "hf-hub:me/clip", reads=(0.3, 0.2, "bilinear", 32))


# timm


TIMM_LOOK = (0.5, 0.5, "bicubic", 160)


def timm_files(architecture: str, **settings: Any) -> Files:
    model = drawn(timm.create_model(architecture, **settings))
    with tempfile.NamedTemporaryFile() as file:
        save_config_for_hf(model, file.name)
        config = Path(file.name).read_bytes()
    return {"config.json": config, "model.safetensors": save(model.state_dict())}


def of_timm() -> Layout:
    """timm/test_vit.r160_in1k, with what timm's CLIP repositories hold besides."""
    files = timm_files("test_vit")
    state = load_file_of(files["model.safetensors"])
    files |= {"pytorch_model.bin": as_bin(state), "open_clip_model.safetensors": b"of open_clip"}
    files |= {"open_clip_config.json": b"{}"}
    needed = {"model.safetensors"}
    return one("timm/test_vit.r160_in1k", files, needed, text=False, reads=TIMM_LOOK)


def of_timm_bin() -> Layout:
    """An older one: pytorch_model.bin only."""
    files = timm_files("test_vit")
    files["pytorch_model.bin"] = as_bin(load_file_of(files.pop("model.safetensors")))
    needed = {"pytorch_model.bin"}
    return one("timm/test_vit.r160_in1k", files, needed, text=False, reads=TIMM_LOOK)


def of_mine_by_timm() -> Layout:
    """A network that someone trained on smaller images and pushed with timm."""
    said = {"mean": (0.3,) * 3, "std": (0.2,) * 3, "interpolation": "bilinear"}
    files = timm_files("test_vit", pretrained_cfg_overlay=said | {"input_size": (3, 96, 96)})
    made = one("me/vit", files, {"config.json", "model.safetensors"}, "hf-hub:me/vit", text=False)
    made.reads = (0.3, 0.2, "bilinear", 96)
    return made


LAYOUTS: dict[str, Callable[[], Layout]] = {
    made.__name__.removeprefix("of_"): cache(made)
    for made in (
        of_clip, of_siglip_2_in_shards, of_dinov2, of_registers, of_dinov3,
        of_no_look, of_openai, of_vitamin, of_timm_siglip, of_clipa, of_mine_by_open_clip,
        of_timm, of_timm_bin, of_mine_by_timm,
    )
}  # fmt: skip
