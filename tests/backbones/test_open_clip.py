"""Every kind of image and text encoder of open_clip, by name, by file and from a folder."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import open_clip
import pytest
import torch
import transformers
from case import SENTENCES, Case
from conformance import CHECKS
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from vlad.backbones import load_backbone, weights
from vlad.backbones.open_clip import as_backbone, build, describe
from vlad.errors import BackboneError
from vlad.types import NATIVE

HALF = (0.5, 0.5, 0.5)
VIT = {"image_size": 64, "layers": 2, "width": 32, "patch_size": 16, "head_width": 16}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
LAST = {"no_causal_mask": True, "pool_type": "last"}
SMALL = {"timm_proj": None, "image_size": 160}
WITHOUT = NATIVE - {"weights"}
# name -> (image encoder, text encoder, the rest of the config, capabilities)
KINDS = {
    "clip": (VIT, {}, {"quick_gelu": True}, NATIVE),
    "clipa": (
        VIT | {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        LAST,
        {},
        WITHOUT,
    ),
    "worldwide": (VIT, {"pool_type": "eos", "eos_id": 49407}, {}, NATIVE),
    "coca": (
        VIT | {"attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True},
        {"embed_cls": True, "output_tokens": True},
        {
            "custom_text": True,
            "multimodal_cfg": {"width": 32, "heads": 2, "layers": 1, "attn_pooler_heads": 2},
        },
        WITHOUT,
    ),
    "siglip": (
        SMALL | {"timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none"},
        LAST | {"proj_bias": True, "width": 64},
        {"custom_text": True, "init_logit_bias": -10},
        NATIVE,
    ),
    "mobileclip, eva and pe": (
        SMALL | {"timm_model_name": "test_vit", "timm_pool": "token"},
        {},
        {"custom_text": True},
        NATIVE,
    ),
    "convnext": (
        SMALL | {"timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear"},
        {},
        {},
        {"joint"},
    ),
    "convnext, mlp": (
        SMALL | {"timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "mlp"},
        LAST,
        {},
        {"joint"},
    ),
    "resnet": ({"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}, {}, {}, {"joint"}),
    "other blocks": (VIT | {"qk_norm": True}, {"qk_norm": True}, {}, frozenset()),
}


def config_of(kind):
    image, text, rest, _ = KINDS[kind]
    size = 64 if kind == "siglip" else 24
    return {"embed_dim": size, "vision_cfg": image, "text_cfg": TEXT | text, **rest}


def model_of(kind):
    torch.manual_seed(0)
    model = build(config_of(kind))
    with torch.no_grad():
        for name, values in [*model.named_parameters(), *model.named_buffers()]:
            if values.ndim == 1 and "num" not in name:
                scale = name.endswith(("weight", "var", "gamma"))
                values.copy_(0.1 * torch.randn(values.shape) + scale)
            elif name == "text_decoder.text_projection":  # CoCa leaves it undrawn
                values.normal_()
            if values.ndim == 4 and kind == "resnet":  # else its deep maps fade
                values *= 4
    return model.eval()


@pytest.fixture(scope="module", params=KINDS)
def case(request):
    model = model_of(request.param)
    tokenizer = open_clip.SimpleTokenizer(context_length=77)
    backbone = as_backbone("small", model, tokenizer, HALF, HALF)
    assert backbone.info.capabilities == KINDS[request.param][3]
    side = backbone.info.image_size
    any_size = "convnext" in request.param
    return Case(
        backbone,
        hidden_states=lambda pixels: hidden_states(model.visual, pixels),
        embedding=lambda pixels: model.encode_image(pixels, normalize=False),
        text=lambda sentences: model.encode_text(tokenizer(sentences), normalize=False),
        sizes=[(side, side), (side + 32, side + 64)] if any_size else [(side, side)],
    )


def hidden_states(visual, pixels):
    if isinstance(visual, open_clip.modified_resnet.ModifiedResNet):
        x, found = visual.stem(pixels), []
        for stage in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            x = stage(x)
            found.append(x)
        return found
    return visual.forward_intermediates(pixels, intermediates_only=True)["image_intermediates"]


@pytest.mark.parametrize("guarantee", CHECKS)
def test_guarantee(case, guarantee):
    CHECKS[guarantee](case)


def test_all_of_its_models_are_described_without_weights_or_a_network():
    models = sorted({model for model, _ in open_clip.list_pretrained()})
    found = {model: describe(model) for model in models}
    assert all(info.has_text for info in found.values())
    for model, info in found.items():
        assert info.embed_dim == open_clip.get_model_config(model)["embed_dim"], model
    kinds = Counter(info.capabilities >= WITHOUT for info in found.values())
    assert kinds[True] >= 93 and kinds[False] <= 22
    learned = {model for model, info in found.items() if info.text_width}
    assert {"EVA02-L-14", "PE-Core-B-16", "ViTamin-L", "RN50", "convnext_base"} <= learned
    assert not {"ViT-B-16-SigLIP", "coca_ViT-B-32", "nllb-clip-base"} & learned
    # open_clip's config names another size than that of its weights
    assert found["ViTamin-XL-384"].image_size == 384


def save(kind, path, beside):
    model = model_of(kind)
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    save_file(state, path)
    beside.write_text(json.dumps(config_of(kind)))
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_beside_its_config(kind, tmp_path):
    path = tmp_path / "mine.safetensors"
    model = save(kind, path, tmp_path / "mine.json")
    before = torch.get_rng_state()
    backbone = load_backbone(str(path), device="cpu")
    assert torch.get_rng_state().equal(before)  # the caller's random numbers
    side = backbone.info.image_size
    pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        image = backbone.vision.embed_image(backbone.vision(pixels).last)
        expected = model.encode_image(pixels, normalize=False)
        words = model.encode_text(open_clip.tokenize(SENTENCES), normalize=False)
    torch.testing.assert_close(image, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(backbone.encode_text(SENTENCES), words, atol=1e-5, rtol=1e-5)


def test_weights_are_in_memory_once():
    """A model is made without values before it gets those of its file, in this thread alone."""
    with weights.without_values():
        made = build(config_of("siglip"))
        with ThreadPoolExecutor(1) as other:
            whole = other.submit(torch.nn.Linear, 2, 2).result()
    assert all(x.is_meta for x in made.parameters()) and not any(x.is_meta for x in made.buffers())
    assert not any(x.is_meta for x in [*whole.parameters(), *torch.nn.Linear(2, 2).parameters()])


def test_a_file_whose_architecture_is_named(tmp_path, monkeypatch):
    """Its images are normalised as those of open_clip's own weights."""
    model = save("siglip", tmp_path / "w.safetensors", tmp_path / "other.json")
    config = config_of("siglip")
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: json.loads(json.dumps(config)))
    backbone = load_backbone(f"ViT-B-16-SigLIP={tmp_path / 'w.safetensors'}", device="cpu")
    assert backbone.mean == backbone.std == HALF
    assert torch.equal(backbone.model.logit_bias, model.logit_bias)


@pytest.mark.parametrize(
    ("look", "words"),
    [
        ({"mean": [0.5, 0.5]}, "three numbers"),
        ({"std": [0, 1, 1]}, "above 0"),
        ({"interpolation": "magic"}, "must be one of nearest"),
    ],
)
def test_a_wrong_preparation_is_one_sentence(look, words, tmp_path):
    save("siglip", tmp_path / "w.safetensors", tmp_path / "w.json")
    config = {"model_cfg": config_of("siglip"), "preprocess_cfg": look}
    (tmp_path / "w.json").write_text(json.dumps(config))
    with pytest.raises(BackboneError, match=words):
        load_backbone(str(tmp_path / "w.safetensors"), device="cpu")


def test_older_names_of_tensors_are_understood(tmp_path):
    path = tmp_path / "mine.safetensors"
    save("mobileclip, eva and pe", path, tmp_path / "mine.json")
    state = load_file(path)
    save_file({k.removeprefix("text."): v for k, v in state.items()}, path)
    backbone = load_backbone(str(path), device="cpu")
    assert torch.equal(backbone.model.text.ln_final.bias, state["text.ln_final.bias"])


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        ("vision_cfg", {"timm_model_name": "hf-hub:me/mine"}, "no network 'hf-hub:me/mine'"),
        ("text_cfg", {"hf_model_name": "me/mine"}, "text encoder 'me/mine'"),
        ("vision_cfg", {"nonsense": 1}, "not an open_clip model config"),
        ("preprocess_cfg", {"std": [0, 0, 0]}, "must be three numbers"),
        ("preprocess_cfg", {"mean": "no"}, "must be three numbers"),
    ],
)
def test_a_config_that_cannot_be_is_one_sentence(part, values, words, tmp_path):
    save("siglip", tmp_path / "mine.safetensors", tmp_path / "mine.json")
    config = {"model_cfg": config_of("siglip"), "preprocess_cfg": {}}
    changed = config if part == "preprocess_cfg" else config["model_cfg"]
    changed[part] = changed[part] | values
    (tmp_path / "mine.json").write_text(json.dumps(config))
    with pytest.raises(BackboneError, match=words):
        load_backbone(str(tmp_path / "mine.safetensors"), device="cpu")


def test_a_file_of_another_kind_must_be_named(tmp_path):
    save("siglip", tmp_path / "mine.safetensors", tmp_path / "other.json")
    with pytest.raises(BackboneError, match="Cannot infer the architecture"):
        load_backbone(str(tmp_path / "mine.safetensors"), device="cpu")


def words_of(path):
    """A small tokenizer of transformers."""
    words = ["[PAD]", "[SEP]", "[UNK]", "a", "photo", "of", "damaged", "flawless", "broken", "nut"]
    words += ["hazelnut", "bolt", "."]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing("$A [SEP]", special_tokens=[("[SEP]", 1)])
    tokens = {"pad_token": "[PAD]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, **tokens).save_pretrained(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """A SigLIP with the tokenizer of transformers, as open_clip's repositories hold one."""
    model = save("siglip", tmp_path / "open_clip_model.safetensors", tmp_path / "x.json")
    config = config_of("siglip")
    config["text_cfg"] |= {"hf_tokenizer_name": "me/mine", "context_length": 77}
    look = {"mean": [0.1, 0.2, 0.3], "std": HALF, "interpolation": "bilinear"}
    written = {"model_cfg": config, "preprocess_cfg": look}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(written))
    words_of(tmp_path)
    return tmp_path, model


def test_a_folder(folder):
    path, model = folder
    backbone = load_backbone(str(path), device="cpu")
    assert backbone.mean == (0.1, 0.2, 0.3) and backbone.interpolation == "bilinear"
    tokens = open_clip.get_tokenizer(f"local-dir:{path}")(SENTENCES)
    with torch.no_grad():
        expected = model.encode_text(tokens)
    torch.testing.assert_close(backbone.encode_text(SENTENCES), expected, atol=1e-5, rtol=0)
    assert backbone.text.context.cut(["a " * 90, "a nut"]) == ["a " * 90]


def test_a_folder_without_a_tokenizer_or_weights(folder):
    path, _ = folder
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (path / file).unlink()
    with pytest.raises(BackboneError, match=r"tokenizer of .*; (get a new copy|add its files)"):
        load_backbone(str(path), device="cpu")
    (path / "open_clip_model.safetensors").unlink()
    with pytest.raises(BackboneError, match="has no weights; add"):
        load_backbone(str(path), device="cpu")


def test_code_beside_a_tokenizer_never_runs(folder):
    path, _ = folder
    file = path / "tokenizer_config.json"
    config = json.loads(file.read_text())
    config |= {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "Evil"}
    file.write_text(json.dumps(config))
    (path / "evil.py").write_text(f"open({str(path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    (path / "config.json").write_text(json.dumps({"auto_map": config["auto_map"]}))
    with pytest.raises(BackboneError, match="The tokenizer of"):
        load_backbone(str(path), device="cpu")
    assert not (path / "ran").exists()


def test_a_text_encoder_of_transformers(tmp_path, monkeypatch):
    config = transformers.RobertaConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, pad_token_id=0,
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    words_of(tmp_path)
    text = {"hf_model_name": str(tmp_path), "hf_pooler_type": "mean_pooler"}
    monkeypatch.setattr("vlad.backbones.open_clip._public_texts", lambda: {str(tmp_path)})
    torch.manual_seed(0)
    model = build({"embed_dim": 24, "vision_cfg": VIT, "text_cfg": text}).eval()
    tokenizer = open_clip.tokenizer.HFTokenizer(str(tmp_path), context_length=16)
    backbone = as_backbone("small", model, tokenizer, HALF, HALF)
    with torch.no_grad():
        expected = model.encode_text(tokenizer(SENTENCES))
    torch.testing.assert_close(backbone.encode_text(SENTENCES), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ViT-B-16-SigLIP/webli", "tokenizer of timm/ViT-B-16-SigLIP: .*network is forbidden"),
        ("nllb-clip-base/v1", "tokenizer of facebook/nllb.*: .*network is forbidden"),
        ("convnext_base/laion400m_s13b_b51k", "weights of convnext_base/.*network is forbidden"),
        ("RN50/openai", "weights of RN50/openai: .*network is forbidden"),
    ],
)
def test_no_network(name, words, monkeypatch):
    monkeypatch.setenv("VLAD_OFFLINE", "1")
    with pytest.raises(BackboneError, match=words):
        load_backbone(name)
