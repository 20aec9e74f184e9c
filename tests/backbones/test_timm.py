"""Networks of timm: plain vision transformers in our pass, all others in their own."""

import json
from functools import partial

import pytest
import timm
import torch
from case import Case, randomise
from conformance import CHECKS
from safetensors.torch import load_file, save_file
from timm.layers import RmsNorm, SwiGLUPacked
from timm.models.vision_transformer import ParallelScalingBlock, ResPostBlock

from vlad.backbones import load_backbone
from vlad.backbones import timm as networks
from vlad.errors import BackboneError
from vlad.types import NATIVE

VIT = {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 2}
ROPE = VIT | {"dynamic_img_size": True}
# name -> (timm's name, its arguments, whether our pass runs it)
KINDS = {
    "vit": ("vit_tiny_patch16_224", VIT, True),
    "vit, cls without a position": (
        "vit_tiny_patch16_224",
        VIT | {"no_embed_class": True, "reg_tokens": 2, "init_values": 0.5, "pre_norm": True},
        True,
    ),
    "vit, registers with positions": (
        "vit_tiny_patch16_224",
        VIT | {"reg_tokens": 2, "qk_norm": True, "scale_attn_norm": True, "scale_mlp_norm": True},
        True,
    ),
    "vit, mean": (
        "vit_tiny_patch16_224",
        VIT | {"class_token": False, "global_pool": "avg", "mlp_layer": SwiGLUPacked},
        True,
    ),
    "vit, mean beside cls": ("vit_tiny_patch16_224", VIT | {"global_pool": "avg"}, True),
    "vit, attention pool": (
        "vit_base_patch16_siglip_224",
        VIT | {"norm_layer": RmsNorm, "reg_tokens": 1},
        True,
    ),
    "vit, post-norm": ("vit_tiny_patch16_224", VIT | {"block_fn": ResPostBlock}, True),
    "vitamin": ("vitamin_small_224", {"img_size": 32, "depth": 2}, True),
    "eva-01": ("eva_giant_patch14_clip_224", VIT | {"patch_size": 16}, True),
    "eva-02": ("eva02_base_patch16_clip_224", VIT, True),
    "eva-02, post-norm": ("eva02_enormous_patch14_clip_224", VIT | {"patch_size": 16}, True),
    "pe core": ("vit_pe_core_tiny_patch16_384", VIT | {"attn_pool_num_heads": 2}, True),
    "pe spatial": ("vit_pe_spatial_tiny_patch16_512", VIT, True),
    "dinov3": ("vit_base_patch16_dinov3", ROPE, True),
    "shared keys": (
        "vit_base_patch16_dinov3",
        ROPE | {"num_heads": 4, "num_kv_heads": 2, "qkv_fused": False, "qk_norm": True}
        | {"attn_type": "rope"},
        True,
    ),
    "parallel blocks": ("vit_tiny_patch16_224", VIT | {"block_fn": ParallelScalingBlock}, False),
    "convnext": ("test_convnext", {}, False),
    "resnet": ("test_resnet", {}, False),
    "efficientnet": ("test_efficientnet", {}, False),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"img_size": 64, "window_size": 2, "embed_dim": 8, "depths": (1, 1, 1, 1)}
        | {"num_heads": (1, 2, 2, 4)},
        False,
    ),
    "beit": ("beit_base_patch16_224", VIT, False),
}  # fmt: skip
CREATE = timm.create_model
# timm resizes positions by an operator that ONNX lacks; OpenVINO computes the two otherwise
REFUSED_BY = {"parallel blocks": ("onnx", "openvino"), "swin": ("openvino",)}
SIDES = {"convnext": 64, "resnet": 64, "efficientnet": 64, "swin": 64}


@pytest.fixture(scope="module", params=KINDS)
def case(request):
    name, arguments, native = KINDS[request.param]
    side = SIDES.get(request.param, 32)
    look = {"input_size": (3, side, side)}
    torch.manual_seed(0)
    made = partial(CREATE, pretrained_cfg_overlay=look, **arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks.timm, "create_model", lambda name, **options: made(name, **options))
        info, options = networks._draft(name, "small")
    model = (
        stir(made(name, **options))
        if name.startswith("test_")
        else randomise(made(name, **options))
    )
    backbone = networks._backbone(model, info)
    assert (backbone.info.capabilities >= NATIVE - {"weights"}) == native
    fixed = backbone.info.fixed_size
    library = partial(library_of, name, {**arguments, **options}, look, model)
    return Case(
        backbone,
        hidden_states=lambda pixels: maps_of(library(pixels), pixels, backbone.info.depth),
        embedding=lambda pixels: library(pixels).forward_head(
            library(pixels).forward_features(pixels), pre_logits=True
        ),
        sizes=[(side, side)] if fixed else [(side, side), (side * 2, side * 3)],
        refused_by=REFUSED_BY.get(request.param, ()),
    )


@torch.no_grad()
def stir(model):
    """Norms that show in the output; kernels stay as drawn, which keeps deep maps in range."""
    generator = torch.Generator().manual_seed(0)
    for name, values in [*model.named_parameters(), *model.named_buffers()]:
        if values.ndim == 1 and "num" not in name:
            noise = 0.1 * torch.randn(values.shape, generator=generator)
            values.copy_(noise + (1 if name.endswith(("weight", "var", "gamma")) else 0))
    return model.eval()


def library_of(name, arguments, look, model, pixels):
    """timm's own network for inputs of this size."""
    if type(model).__name__ not in ("VisionTransformer", "Eva"):
        return model
    own = {**arguments, "dynamic_img_size": True}
    found = timm.create_model(name, num_classes=0, pretrained_cfg_overlay=look, **own)
    found.load_state_dict(model.state_dict())
    return found.eval()


def maps_of(model, pixels, depth):
    return model.forward_intermediates(pixels, intermediates_only=True)[-depth:]


@pytest.mark.parametrize("guarantee", CHECKS)
def test_guarantee(case, guarantee):
    CHECKS[guarantee](case)


def test_the_grid_of_stages_is_that_of_the_last_but_one():
    info = networks.describe("timm/convnext_atto.d2_in1k")
    assert (info.depth, info.patch_size, info.step) == (4, 16, 32)
    assert info.widths == (40, 80, 160, 320)
    stem_left_out = networks.describe("timm/resnet10t.c3_in1k")
    assert stem_left_out.widths == (64, 128, 256, 512)


def test_a_pyramid_needs_all_strides_and_begins_with_the_stem_of_an_efficientnet():
    found = {
        name: networks.describe(f"timm/{name}").pyramid
        for name in ("tf_efficientnet_b4.aa_in1k", "resnet18.a1_in1k", "convnext_atto.d2_in1k")
    }
    assert list(found.values()) == [(48, 32, 56, 160, 448), (64, 64, 128, 256, 512), ()]


def test_names_are_described_without_weights():
    info = networks.describe("timm/vit_base_patch16_dinov3.lvd1689m")
    assert (info.depth, info.width, info.patch_size, info.image_size) == (12, 768, 16, 256)
    assert info.capabilities == NATIVE and info.has_cls and not info.has_text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm/vit_base_patch16_dinov9", r"no network 'vit_base_patch16_dinov9' \(near are .*dino"),
        ("timm/resnet50.nonsense", r"no pretrained tag 'nonsense' \(it has a1_in1k"),
        ("timm/ViT-B-16-SigLIP", "timm has no network"),
    ],
)
def test_unknown_names(name, words):
    with pytest.raises(BackboneError, match=words):
        load_backbone(name)


@pytest.mark.parametrize("name", ["timm/resnet10t.c3_in1k", "timm/gcvit_base.in1k"])
def test_no_network_and_no_weights(name, monkeypatch, tmp_path):
    """The second is not on the hub, so timm itself would fetch it."""
    monkeypatch.setenv("VLAD_OFFLINE", "1")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *_, **__: pytest.fail("fetched"))
    with pytest.raises(BackboneError, match=r"network is forbidden.*a local file as `backbone`"):
        load_backbone(name)


@pytest.fixture
def folder(tmp_path):
    """A small network as timm saves it for the hub."""
    arguments = {**VIT, "num_classes": 3}
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", **arguments)
    look = {**model.pretrained_cfg, "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}
    look |= {"interpolation": "bilinear", "input_size": [3, 32, 32], "num_classes": 3}
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": 3, "model_args": arguments}
    (tmp_path / "config.json").write_text(json.dumps({**config, "pretrained_cfg": look}))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    return tmp_path


def change(folder, **values):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_a_folder(folder):
    backbone = load_backbone(str(folder), device="cpu")
    assert backbone.mean == (0.1, 0.2, 0.3) and backbone.std == (0.5, 0.6, 0.7)
    assert backbone.interpolation == "bilinear"
    assert backbone.info.image_size == 32
    weight = load_file(folder / "model.safetensors")["blocks.1.mlp.fc2.weight"]
    assert torch.equal(backbone.model.blocks[1].mlp.fc2.weight, weight)
    assert not any(name.startswith("head") for name in backbone.model.state_dict())


def test_a_folder_with_a_pickle_of_tensors(folder):
    pixels = torch.randn(1, 3, 32, 32)
    first = load_backbone(str(folder), device="cpu").vision(pixels).last
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    again = load_backbone(str(folder), device="cpu").vision(pixels).last
    torch.testing.assert_close(again, first)


def test_a_pickle_never_runs_code(folder):
    class Evil:
        def __reduce__(self):
            return (open, (str(folder / "ran"), "w"))

    torch.save({"x": Evil()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match="is not readable as weights"):
        load_backbone(str(folder), device="cpu")
    assert not (folder / "ran").exists()


def test_a_pickle_with_nan_is_refused(folder):
    state = load_file(folder / "model.safetensors")
    state["blocks.0.mlp.fc1.bias"][0] = torch.nan
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"blocks\.0\.mlp\.fc1\.bias of .* has NaN"):
        load_backbone(str(folder), device="cpu")


def test_what_does_not_fit_is_named(folder):
    file = folder / "model.safetensors"
    state = load_file(file)
    save_file({k: v for k, v in state.items() if k != "blocks.0.attn.qkv.bias"}, file)
    with pytest.raises(BackboneError, match=r"blocks\.0\.attn\.qkv\.bias is missing from"):
        load_backbone(str(folder), device="cpu")
    save_file({**state, "norm.bias": torch.zeros(5)}, file)
    with pytest.raises(BackboneError, match=r"norm\.bias .* has shape \(5,\)"):
        load_backbone(str(folder), device="cpu")
    save_file({**state, "norm.bias": torch.full((32,), float("nan"))}, file)
    with pytest.raises(BackboneError, match=r"norm\.bias of .* has NaN"):
        load_backbone(str(folder), device="cpu")
    file.unlink()
    with pytest.raises(BackboneError, match="cannot be read"):
        load_backbone(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"architecture": "vit_nonsense"}, "architecture 'vit_nonsense', which this timm"),
        ({"model_args": {**VIT, "depth": 10**9}}, "blocks, over the limit of 256"),
        ({"model_args": {**VIT, "nonsense": 1}}, "cannot be read"),
        ({"model_args": {**VIT, "in_chans": 1}}, "images of 1 channels"),
    ],
)
def test_a_config_that_cannot_be_is_one_sentence(folder, values, words):
    change(folder, **values)
    with pytest.raises(BackboneError, match=words) as error:
        load_backbone(str(folder), device="cpu")
    assert "\n" not in str(error.value)
