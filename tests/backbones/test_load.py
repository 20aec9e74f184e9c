"""Backbones from every kind of file and folder, and plain words where one does not fit."""

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import vlad
from vlad.backbones import _slow_bfloat16, describe, load_backbone
from vlad.errors import BackboneError, HeadError
from vlad.heads import load_head
from vlad.scoring.extractor import Extractor

SENTENCES = ["a photo of a damaged hazelnut.", "a photo of a bolt."]


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def embed(backbone, pixels):
    return backbone.vision.embed_image(backbone.vision(pixels).last)


def check(backbone, model, pixels):
    """The backbone gives what open_clip's own model gives."""
    tokens = open_clip.get_tokenizer("ViT-B-32")(SENTENCES)
    with torch.no_grad():
        image, text = model.encode_image(pixels), model.encode_text(tokens)
    torch.testing.assert_close(embed(backbone, pixels), image, atol=1e-5, rtol=0)
    torch.testing.assert_close(backbone.encode_text(SENTENCES), text, atol=1e-5, rtol=0)


def test_safetensors(small_clip, small_file, pixels):
    backbone = load_backbone(str(small_file), device="cpu")
    assert (backbone.info.depth, backbone.info.patch_size, backbone.info.image_size) == (4, 16, 64)
    check(backbone, small_clip, pixels)


@pytest.mark.parametrize("wrap", ["plain", "trained"])
def test_pt(small_clip, pixels, tmp_path, wrap):
    state = small_clip.state_dict()
    if wrap == "trained":  # as open_clip's training loop on several GPUs saves it
        state = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
    torch.save(state, tmp_path / "small.pt")
    check(load_backbone(str(tmp_path / "small.pt"), device="cpu"), small_clip, pixels)


@pytest.mark.filterwarnings("ignore")
def test_jit_archive_is_read_in_full_precision_with_quick_gelu(small_config, pixels, tmp_path):
    torch.manual_seed(3)
    model = open_clip.CLIP(**small_config, quick_gelu=True).eval()
    model.half().float()  # the released archives hold half precision
    tokens = open_clip.get_tokenizer("ViT-B-32")(SENTENCES)
    path = tmp_path / "ViT.pt"
    torch.jit.trace(model, (pixels, tokens), check_trace=False).save(path)
    check(load_backbone(str(path), device="cpu"), model, pixels)


def test_architecture_named_or_beside_the_file(
    small_config, small_clip, small_file, pixels, tmp_path
):
    config = {**small_config, "vision_cfg": {**small_config["vision_cfg"], "head_width": 32}}
    model = open_clip.CLIP(**config).eval()
    model.load_state_dict(small_clip.state_dict())
    shutil.copy(small_file, tmp_path / "mine.safetensors")
    (tmp_path / "mine.json").write_text(json.dumps(config))
    # the number of heads does not show in the tensors, so only the JSON can have told
    check(load_backbone(str(tmp_path / "mine.safetensors"), device="cpu"), model, pixels)
    with pytest.raises(BackboneError, match=r"Tensor .* is missing from"):
        load_backbone(f"ViT-B-32={small_file}", device="cpu")


def test_hugging_face_clip(pixels, tmp_path):
    torch.manual_seed(0)
    text = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**text, "intermediate_size": 64, "vocab_size": 49408},
        vision_config={**text, "intermediate_size": 64, "image_size": 64, "patch_size": 16},
        projection_dim=24,
    )
    model = transformers.CLIPModel(config).eval()
    model.save_pretrained(tmp_path)
    clip_tokenizer().save_pretrained(tmp_path)
    backbone = load_backbone(str(tmp_path), device="cpu")
    with torch.no_grad():
        image = model.get_image_features(pixels).pooler_output
        tokens = clip_tokenizer()(SENTENCES, padding=True, return_tensors="pt")
        sentences = model.get_text_features(**tokens).pooler_output
        hidden = model.vision_model(pixels, output_hidden_states=True).hidden_states
    torch.testing.assert_close(embed(backbone, pixels), image, atol=1e-5, rtol=0)
    torch.testing.assert_close(backbone.encode_text(SENTENCES), sentences, atol=1e-5, rtol=0)
    patches = backbone.vision(pixels, taps=[(None, 1)]).patches[None, 1]
    torch.testing.assert_close(patches, hidden[1][:, 1:], atol=1e-5, rtol=0)


@pytest.fixture
def clip_folder(tmp_path):
    """A random CLIP as `save_pretrained` writes it, without a tokenizer."""
    torch.manual_seed(0)
    text = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**text, "intermediate_size": 64, "vocab_size": 49408},
        vision_config={**text, "intermediate_size": 64, "image_size": 64, "patch_size": 16},
        projection_dim=24,
    )
    transformers.CLIPModel(config).eval().save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


def test_a_folder_without_a_tokenizer_is_refused(clip_folder):
    with pytest.raises(BackboneError, match=r"tokenizer of .* is missing"):
        load_backbone(str(clip_folder), device="cpu")
    clip_tokenizer().save_pretrained(clip_folder)
    assert load_backbone(str(clip_folder), device="cpu").info.has_text


def test_a_folder_is_described_without_its_weights(clip_folder):
    clip_tokenizer().save_pretrained(clip_folder)
    loaded = load_backbone(str(clip_folder), device="cpu").info
    (clip_folder / "model.safetensors").write_bytes(b"")
    assert describe(str(clip_folder)) == loaded


def test_a_tokenizer_without_merges_is_refused(clip_folder):
    clip_tokenizer().save_pretrained(clip_folder)
    made = json.loads((clip_folder / "tokenizer.json").read_text())
    made["model"]["merges"] = []
    (clip_folder / "tokenizer.json").write_text(json.dumps(made))
    with pytest.raises(BackboneError, match=r"tokenizer of .* is missing"):
        load_backbone(str(clip_folder), device="cpu")


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(clip_folder):
    config = json.loads((clip_folder / "config.json").read_text())
    clip_tokenizer().save_pretrained(clip_folder)
    model = transformers.CLIPModel.from_pretrained(clip_folder)
    model.text_model.embeddings.token_embedding = torch.nn.Embedding(1000, 32)
    config["text_config"]["vocab_size"] = 1000
    model.save_pretrained(clip_folder)
    (clip_folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BackboneError, match="is not that of its weights"):
        load_backbone(str(clip_folder), device="cpu")


def test_texts_are_cached_by_the_tokenizer_too(clip_folder):
    """A tokenizer that is repaired must not find what was embedded before."""
    from vlad.prompts import Prompts
    from vlad.scoring.textcache import embed_prompts

    clip_tokenizer().save_pretrained(clip_folder)
    prompts = Prompts(("a flawless nut.",), ("a broken nut.",))
    before = embed_prompts(load_backbone(str(clip_folder), device="cpu"), prompts).normal
    file = clip_folder / "tokenizer.json"
    made = json.loads(file.read_text())
    vocab = made["model"]["vocab"]
    vocab["nut</w>"], vocab["bolt</w>"] = vocab["bolt</w>"], vocab["nut</w>"]
    file.write_text(json.dumps(made))
    after = load_backbone(str(clip_folder), device="cpu")
    assert not torch.equal(embed_prompts(after, prompts).normal, before)
    again = embed_prompts(after, prompts).normal
    torch.testing.assert_close(again, after.encode_text(prompts.normal), atol=1e-5, rtol=0)


def test_siglip(pixels, tmp_path):
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.SiglipConfig(
        text_config={**size, "intermediate_size": 64, "vocab_size": 49408},
        vision_config={**size, "intermediate_size": 64, "image_size": 64, "patch_size": 16},
    )
    model = transformers.SiglipModel(config).eval()
    model.save_pretrained(tmp_path)
    clip_tokenizer().save_pretrained(tmp_path)
    backbone = load_backbone(str(tmp_path), device="cpu")
    assert not backbone.info.has_cls
    with torch.no_grad():
        image = model.get_image_features(pixels).pooler_output
    torch.testing.assert_close(embed(backbone, pixels), image, atol=1e-5, rtol=0)
    assert backbone.encode_text(SENTENCES).shape == (2, 32)
    assert backbone.vision(pixels, windows=[2]).windows[2].shape == (2, 9, 32)


@pytest.mark.parametrize("swiglu", [False, True])
def test_dinov2_sees_but_does_not_read(swiglu, tmp_path):
    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        layerscale_value=0.5,
        use_swiglu_ffn=swiglu,
    )
    model = transformers.Dinov2Model(config).eval()
    model.save_pretrained(tmp_path)
    backbone = load_backbone(str(tmp_path), device="cpu")
    pixels = torch.randn(2, 3, 56, 84)
    with torch.no_grad():
        expected = model(pixels)
    taps = backbone.vision(pixels, taps=[(None, 2)], pos_embed="bicubic")
    patches = backbone.vision.ln_post(taps.patches[None, 2])
    torch.testing.assert_close(patches, expected.last_hidden_state[:, 1:], atol=1e-5, rtol=0)
    image = backbone.vision.embed_image(taps.last)
    torch.testing.assert_close(image, expected.pooler_output, atol=1e-5, rtol=0)
    with pytest.raises(HeadError, match="no text encoder"):
        backbone.encode_text(SENTENCES)


@pytest.mark.parametrize("side", [42, 84])
def test_positions_of_dinov2_are_resized_as_its_authors_do(dinov2_folder, drawn, side):
    """Bicubic, patch i of h at (i + ½) · g / (h + 0.1) − ½ of g in the table."""
    backbone = load_backbone(str(dinov2_folder), device="cpu")
    old, new = 56 // 14, side // 14
    weights = np.zeros((new, old))
    for i in range(new):
        at = (i + 0.5) * old / (new + 0.1) - 0.5
        for tap in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
            x, a = abs(at - tap), -0.75
            near = (a + 2) * x**3 - (a + 3) * x**2 + 1
            far = a * (x**3 - 5 * x**2 + 8 * x - 4)
            weights[i, min(max(tap, 0), old - 1)] += near if x <= 1 else far
    table = backbone.vision.pos[1:].numpy().reshape(old, old, -1)
    table = np.einsum("ia,jb,abc->ijc", weights, weights, table).reshape(new * new, -1)
    positions = torch.cat([backbone.vision.pos[:1], torch.from_numpy(table).float()])
    extractor, spec = Extractor(backbone, side), load_head("memory").spec(backbone.info)
    prepared = [extractor.prepare(drawn[0], [spec])]
    (found,) = extractor.extract(prepared, [spec])
    pixels = torch.from_numpy(prepared[0][side, "pil"])[None]
    with torch.no_grad():
        x = backbone.vision.patch_embed(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([backbone.vision.cls.expand(1, 1, -1), x], dim=1) + positions
        for number, block in enumerate(backbone.vision.blocks, start=1):
            x = block(x, None)
            if number in found.patches:
                torch.testing.assert_close(found.patches[number], x[:, 1:], atol=1e-5, rtol=0)


def test_bfloat16_stays_close(small_file, pixels):
    full = embed(load_backbone(str(small_file), device="cpu"), pixels)
    backbone = load_backbone(str(small_file), device="cpu", dtype="bfloat16")
    half = embed(backbone, pixels)
    assert backbone.model.visual.transformer.resblocks[0].mlp.c_fc.weight.dtype == torch.bfloat16
    assert torch.cosine_similarity(full, half).min() > 0.9999
    assert (full - half).abs().max() > 1e-6


@pytest.fixture
def trial(monkeypatch):
    """Sets what a product takes on this CPU; it has no instructions for bfloat16 unless told."""

    def pretend(float32: float, bfloat16: float, instructions: bool = False) -> list[torch.dtype]:
        tried, times = [], {torch.float32: float32, torch.bfloat16: bfloat16}

        def product_ms(device, dtype, budget):
            tried.append(dtype)
            return times[dtype]

        monkeypatch.setattr("vlad.system.machine.product_ms", product_ms)
        monkeypatch.setattr("vlad.system.processor.has_bfloat16", lambda: instructions)
        return tried

    _slow_bfloat16.cache_clear()
    yield pretend
    _slow_bfloat16.cache_clear()


def test_bfloat16_that_is_slower_here_is_said_once_with_the_figure(small_file, trial):
    tried = trial(float32=100.0, bfloat16=8460.0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        for dtype in ("float32", "bfloat16", "bfloat16"):
            load_backbone(str(small_file), device="cpu", dtype=dtype)
    (warning,) = said
    assert "84.6 times slower than float32 on this CPU (8460 ms and 100 ms" in str(warning.message)
    assert str(warning.message).endswith("use float32.")
    # the command line shows warnings of vlad's own files alone
    assert Path(warning.filename).is_relative_to(Path(vlad.__file__).parent)
    assert len(tried) == 2


@pytest.mark.parametrize(
    ("bfloat16", "instructions", "trials"), [(8460.0, True, 0), (100.0, False, 2)]
)
def test_bfloat16_that_is_no_slower_is_not_warned_of(
    small_file, trial, bfloat16, instructions, trials
):
    tried = trial(100.0, bfloat16, instructions)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_backbone(str(small_file), device="cpu", dtype="bfloat16")
    assert len(tried) == trials


def test_fingerprint_tells_weights_and_activation_apart(small_config, small_file, tmp_path):
    state = load_file(small_file)
    first = load_backbone(str(small_file), device="cpu").fingerprint
    assert load_backbone(str(small_file), device="cpu").fingerprint == first
    save_file(state, tmp_path / "quick.safetensors")
    (tmp_path / "quick.json").write_text(json.dumps({**small_config, "quick_gelu": True}))
    assert load_backbone(str(tmp_path / "quick.safetensors"), device="cpu").fingerprint != first
    save_file(
        {**state, "text_projection": state["text_projection"] * 1.01}, tmp_path / "w.safetensors"
    )
    assert load_backbone(str(tmp_path / "w.safetensors"), device="cpu").fingerprint != first


def clip_tokenizer():
    """CLIP's tokenizer built from the vocabulary that open_clip ships."""
    simple = open_clip.SimpleTokenizer()
    merges = [tuple(pair) for pair in simple.bpe_ranks]
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocab = {names.get(token, token): number for token, number in simple.encoder.items()}
    return transformers.CLIPTokenizer(vocab=vocab, merges=merges)


def test_a_file_of_weights_needs_no_library_of_backbones():
    """They take longer to import than all else of a first image."""
    slow = "{'open_clip', 'transformers', 'torchvision', 'timm', 'torch._dynamo', 'scipy'}"
    code = (
        "import sys, vlad.runs.run; from vlad.backbones import load_backbone; "
        f"load_backbone('vlad-tiny', 'cpu'); print(sorted({slow} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
