"""The authors' released checkpoints, written at their true size, are imported and score an image.

Weights are random and shared by the blocks of a CLIP, and images small: shapes and files are true.
"""

import gc
import os
import re

import open_clip
import pytest
import torch
import transformers
from click.testing import CliRunner
from PIL import Image
from released import LAYOUTS, learned, write

from vlad.adapters import read_adapter
from vlad.adapters.layouts import LAYOUTS as OURS
from vlad.adapters.layouts import theirs
from vlad.backbones import load_backbone
from vlad.backbones.open_clip import as_backbone
from vlad.cli import main
from vlad.demo import HAZELNUT
from vlad.heads import head_maker
from vlad.scoring.panel import Panel

SIDE = 112  # pixels, 8 × 8 patches; 12 × 12 are a window of SOWA's, AdaCLIP takes 100 of them
BANK = """
title = "Nuts"
source = "the tests"
licence = "CC0-1.0"
templates = ["a photo of a {}."]
[states]
normal = ["{}"]
anomalous = ["broken {}", "{} with a hole"]
"""


def filled(model):
    """The model with random weights, as fast as memory can be written."""
    drawn = torch.randn(2**20, generator=torch.Generator().manual_seed(0))
    for name, x in model.named_parameters():
        if "logit_scale" not in name:
            few = x.ndim < 2
            scale = 0.02 if few else 1 / x[0].numel() ** 0.5
            flat = x.data.reshape(-1)
            for part in flat.split(len(drawn)):
                torch.mul(drawn[: len(part)], scale, out=part)
            if few and name.endswith("weight"):  # of a norm
                flat += 1
    return model


def share(first, block):
    """Make a block use the parameters of the first one."""
    for module, own in zip(first.modules(), block.modules(), strict=True):
        for name, x in module._parameters.items():
            own._parameters[name] = x


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """name -> true-size Backbone of random weights; the last one is kept."""
    made = {}

    def make(name):
        if name not in made:
            made.clear()
            gc.collect()
            made[name] = dinov2(name) if name.startswith("dinov2") else clip(name)
        return made[name]

    def clip(name):
        config = open_clip.get_model_config(name.split("/")[0])
        with torch.device("meta"):
            model = open_clip.CLIP(**config)
        model = model.to_empty(device="cpu")
        for encoder in (model.visual.transformer, model.transformer):
            first, *blocks = encoder.resblocks
            for block in blocks:  # they share the first one's weights: a twentieth of the memory
                share(first, block)
        model.attn_mask = torch.full((77, 77), -torch.inf).triu(1)
        return as_backbone(name, filled(model), open_clip.SimpleTokenizer(), [0.5] * 3, [0.25] * 3)

    def dinov2(name):
        folder = tmp_path_factory.mktemp("backbone")
        config = transformers.Dinov2WithRegistersConfig(image_size=518, patch_size=14)
        with torch.device("meta"):
            model = transformers.Dinov2WithRegistersModel(config)
        filled(model.to_empty(device="cpu")).save_pretrained(folder)
        return load_backbone(str(folder), "cpu")

    return make


def imported(*words):
    return CliRunner().invoke(main, ["adapters", "import", "--auxiliary", "VisA", *map(str, words)])


@pytest.mark.parametrize("head", LAYOUTS)
def test_a_released_checkpoint_is_imported_and_scores(head, backbone, tmp_path):
    layout, own = LAYOUTS[head], OURS[head]
    built = backbone(layout["backbone"])
    write(head, tmp_path / "epoch_15.pth")
    done = imported(
        "--head", head, tmp_path / "epoch_15.pth",
        "--backbone", built.info.name, "--out", tmp_path / "mine",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    (tmp_path / "epoch_15.pth").unlink()
    adapter = read_adapter(tmp_path / "mine" / "adapter.safetensors")
    written = {n: x for state in learned(head).values() for n, x in state.items()}
    for name, x in adapter.tensors.items():
        assert torch.equal(x, written[own.prefix + theirs(head, name)].reshape(x.shape)), name
    del written
    made = head_maker(head)(adapter=adapter, **layout.get("params", {}))
    (tmp_path / "few.toml").write_text(BANK)
    bank = str(tmp_path / "few.toml") if "category" in layout else None
    panel = Panel(built, {head: made}, bank=bank, image_size=layout.get("side", SIDE))
    image = Image.open(next((HAZELNUT / "train" / "good").iterdir())).convert("RGB")
    scores = panel.score([panel.prepare(image)], layout.get("category"))[head]
    assert scores.image_score.isfinite().all()
    assert scores.anomaly_map.isfinite().all()
    assert scores.anomaly_map.std() > 0


class Code:
    """A pickle that would make a folder if it were executed."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return os.mkdir, (self.trace,)


def within(head):
    """Content of a file -> its first entry with tensors."""
    entry = next(iter(LAYOUTS[head]["entries"]))
    return lambda content: content[entry] if entry else content


def put(name, value):
    return lambda state: state.update({name: value})


def drop(name):
    return lambda state: state.pop(name)


WIDE = torch.zeros(4, 512)


@pytest.mark.parametrize(
    ("head", "change", "words"),
    [
        ("anomalyclip", drop("ctx_neg"), r"Tensor ctx_neg is missing from .*\.pth"),
        (
            "anomalyclip",
            put("compound_prompts_text.3", WIDE),
            r"Tensor compound_prompts_text\.3 of .* has shape \(4, 512\), but ViT-L-14-336/openai "
            r"needs \(4, 768\)",
        ),
        ("anomalyclip", put("gate.weight", WIDE), r"Tensor gate\.weight of .* is not learned by"),
        ("adaclip", drop("clip_model.cls_token_layer.head.0.bias"), "cls_token_layer.head.0.bias"),
        ("april_gan", drop("fc.2.bias"), r"Tensor fc\.2\.bias is missing"),
        ("adaptclip", drop("ctx_pos"), r"Tensor ctx_pos is missing"),
        ("clip_ad", put("fc.1.weight", WIDE), r"fc\.1\.weight of .* \(4, 512\).*\(640, 896\)"),
        ("sowa", drop("net.cross_fusion.linear.bias"), "cross_fusion.linear.bias is missing"),
        ("inp_former", put("prototype_token", WIDE), r"\(4, 512\).*\(4, 768\)"),
    ],
)
def test_a_wrong_tensor_is_named(head, change, words, tmp_path, backbone):
    file = tmp_path / "epoch_15.pth"
    write(head, file, change=lambda content: change(within(head)(content)))
    name = LAYOUTS[head]["backbone"]
    refused(file, head, backbone(name).info.name if name.startswith("dinov2") else name, words)


def refused(file, head, backbone, words):
    out = file.parent / "mine"
    done = imported("--head", head, file, "--backbone", backbone, "--out", out)
    assert done.exit_code == 2
    *bars, sentence = done.stderr.splitlines()  # of transformers
    assert sentence.startswith("Error: ") and not any("Error" in bar for bar in bars)
    assert re.search(words, sentence), sentence
    assert not out.exists()


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path):
    file, trace = tmp_path / "epoch_000.ckpt", tmp_path / "trace"
    for head in ("anomalyclip", "sowa"):
        write(head, file, change=lambda content: content.update(extra=Code(trace)))
        refused(file, head, "ViT-L-14-336/openai", r"it asks for posix\.mkdir.*nothing in it was")
        assert not trace.exists()


def test_a_truncated_file_a_missing_entry_and_another_backbone(tmp_path):
    file, backbone = tmp_path / "epoch_15.pth", "ViT-L-14-336/openai"
    write("adaptclip", file, change=lambda content: content.pop("pq_learner"))
    refused(file, "adaptclip", backbone, "has no 'pq_learner', unlike a checkpoint of adaptclip")
    write("anomalyclip", file)
    refused(file, "anomalyclip", "ViT-B-16/openai", r"has shape .*768.* ViT-B-16/openai")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    refused(file, "anomalyclip", backbone, "truncated")


def test_the_words_of_tipsomaly_belong_to_an_encoder_that_vlad_does_not_load(tmp_path):
    words = torch.nn.ParameterList(torch.nn.Parameter(torch.zeros(8, 1024)) for _ in range(2))
    file = tmp_path / "learnable_params_2.pth"
    torch.save({"learnable_prompts": words}, file)
    refused(file, "tipsomaly", "google/tipsv2-l14", "text encoder of TIPS.*vlad train tipsomaly")
