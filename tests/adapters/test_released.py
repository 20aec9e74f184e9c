"""The authors' released checkpoints, written at their true size, are imported and score an image.

Weights are random, and images small: shapes and files are what is true here.
"""

import gc
import json
from pathlib import Path

import open_clip
import pytest
import torch
import transformers
from click.testing import CliRunner
from PIL import Image
from released import LAYOUTS, write

from vlad.adapters import Adapter, read_adapter
from vlad.adapters.layouts import LAYOUTS as OURS
from vlad.adapters.layouts import theirs
from vlad.backbones import describe, load_backbone
from vlad.backbones.open_clip import as_backbone
from vlad.cli import main
from vlad.demo import HAZELNUT
from vlad.heads import head_maker
from vlad.scoring.panel import Panel

SIDE = 168  # pixels: 12 × 12 patches, a window of SOWA's


def filled(model):
    """The model with random weights, as fast as memory can be written."""
    drawn = torch.randn(2**20, generator=torch.Generator().manual_seed(0))
    for name, x in model.state_dict().items():
        if x.is_floating_point() and "logit_scale" not in name:
            few = x.ndim < 2
            scale = 0.02 if few else 1 / x[0].numel() ** 0.5
            flat = x.reshape(-1)
            flat.copy_((drawn * scale).repeat(-(-len(flat) // len(drawn)))[: len(flat)])
            if few and name.endswith("weight"):  # of a norm
                flat += 1
    return model


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
    written = write(head, tmp_path / "epoch_15.pth")
    done = imported(
        "--head", head, tmp_path / "epoch_15.pth",
        "--backbone", built.info.name, "--out", tmp_path / "mine",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    (tmp_path / "epoch_15.pth").unlink()
    adapter = read_adapter(tmp_path / "mine" / "adapter.safetensors")
    for name, x in adapter.tensors.items():
        assert torch.equal(x, written[own.prefix + theirs(head, name)].reshape(x.shape)), name
    del written
    made = head_maker(head)(adapter=adapter, **layout.get("params", {}))
    panel = Panel(built, {head: made}, image_size=layout.get("side", SIDE))
    image = Image.open(next((HAZELNUT / "train" / "good").iterdir())).convert("RGB")
    scores = panel.score([panel.prepare(image)], layout.get("category"))[head]
    assert scores.image_score.isfinite().all()
    assert scores.anomaly_map.isfinite().all()
    assert scores.anomaly_map.std() > 0
