"""Weights, adapters and detectors made to harm: each is refused in a sentence, at little cost."""

import json
import os
import zipfile

import numpy as np
import pytest
import tomli_w
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from vlad import adapters
from vlad.adapters import Adapter, load_adapter, read_adapter, save_adapter
from vlad.adapters.checkpoint import read_checkpoint
from vlad.backbones import load_backbone
from vlad.calibration import from_normals, load_calibration, save_calibration
from vlad.cli import main
from vlad.detector import Detector
from vlad.errors import AdapterError, BackboneError, InputError
from vlad.system.resources import tomllib


def test_a_torchscript_archive_that_numbers_objects_without_end(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/constants.pkl", b"")
        # place 2**27 of the memo, for which 2 GB would be taken
        archive.writestr("a/data.pkl", b"\x80\x02Nr\0\0\0\x08.")
    with pytest.raises(BackboneError, match="numbers more objects than it holds"):
        load_backbone(str(tmp_path / "a.pt"))


def dinov2(folder, **config):
    """A folder of a small model of transformers, with other entries in its config.json."""
    from transformers import Dinov2Config, Dinov2Model

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    Dinov2Model(Dinov2Config(**sizes, image_size=28)).save_pretrained(folder)
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **config}))
    return folder


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation"])
def test_no_kernel_that_a_transformers_model_names_is_fetched(tmp_path, name, monkeypatch):
    from transformers import modeling_utils

    asked = []
    monkeypatch.setattr(modeling_utils, "is_kernel", asked.append)
    assert load_backbone(str(dinov2(tmp_path, **{name: "evil/kernel"})), "cpu").info.depth == 1
    assert "evil/kernel" not in asked


def test_a_transformers_model_without_end_or_in_part(tmp_path):
    folder = dinov2(tmp_path / "a", num_hidden_layers=10**9)
    with pytest.raises(BackboneError, match="1e\\+09 layers"):
        load_backbone(str(folder))
    folder = dinov2(tmp_path / "b")
    state = load_file(folder / "model.safetensors")
    save_file(
        {**state, "layernorm.bias": state["layernorm.bias"] / 0},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(BackboneError, match=r"layernorm\.bias .* NaN or infinity"):
        load_backbone(str(folder))
    del state["layernorm.bias"]  # random numbers would stand in for it
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BackboneError, match=r"layernorm\.bias is missing"):
        load_backbone(str(folder))


@pytest.mark.parametrize("std", ["[0, 0, 0]", '["a", "b", "c"]', "[1, 1]", "[NaN, 1, 1]"])
def test_a_transformers_model_that_divides_by_nothing(tmp_path, std):
    text = f'{{"image_mean": [0, 0, 0], "image_std": {std}}}'
    (dinov2(tmp_path) / "preprocessor_config.json").write_text(text)
    with pytest.raises(BackboneError, match="image_std"):
        load_backbone(str(tmp_path))


def test_a_backbone_of_a_name_longer_than_any_file(tmp_path):
    with pytest.raises(BackboneError, match="Unknown backbone"):
        load_backbone("x/" * 10_000)


def test_a_calibration_of_another_head_in_a_detector(tmp_path):
    save_file({"1": torch.zeros(2, 2)}, tmp_path / "memory.safetensors")
    (tmp_path / "detector.json").write_text(json.dumps({"head": "memory"}))
    save_calibration(from_normals({"uniadet": np.arange(40.0)}), tmp_path / "calibration.json")
    with pytest.raises(InputError, match="not of head memory"):
        Detector.load(tmp_path)


@pytest.mark.parametrize("share", [{"mean": 0.1}, {"mean": "x", "low": 0, "high": 1}, [], 5])
def test_a_calibration_with_a_share_that_cannot_be(tmp_path, share):
    file = save_calibration(from_normals({"memory": np.arange(40.0)}), tmp_path / "a.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "share": share}))
    with pytest.raises(InputError, match="its share"):
        load_calibration(file)


@pytest.mark.parametrize(
    "params",
    [
        {"layers": [1], "categories": [["a"]]},
        {"layers": [1] * 5000},
        {"layers": [1], "categories": 5},
    ],
)
def test_adapters_with_params_that_cannot_be(tmp_path, params):
    adapter = Adapter("a", "april_gan", "b", "c", params, {})
    with pytest.raises(AdapterError, match=r"its layers are|its categories are"):
        read_adapter(save_adapter(adapter, tmp_path))


def test_a_card_with_a_date_is_shown(tmp_path):
    save_adapter(Adapter("a", "april_gan", "b", "c", {"layers": [1]}, {}), tmp_path)
    words = dict.fromkeys(("head", "backbone", "auxiliary", "licence", "source", "sha256"), "x")
    text = tomli_w.dumps(words) + "made = 1979-05-27\n[on]\nlist = [{at = 07:32:00}]\n"
    (tmp_path / "card.toml").write_text(text)
    done = CliRunner().invoke(main, ["adapters", "show", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert tomllib.loads(done.output) == tomllib.loads(text)


def test_tensor_names_without_end(tmp_path, small_backbone):
    names = {
        "z" * 10**6: torch.zeros(1),
        **dict.fromkeys(("projections.0.weight",), torch.zeros(1)),
    }
    for tensors in (names, {"z" * 10**6: torch.zeros(1).int()}):
        adapter = Adapter("a", "april_gan", "b", "c", {"layers": [1]}, tensors)
        with pytest.raises(AdapterError) as caught:
            load_adapter(adapter, "april_gan", small_backbone.info)
        assert len(str(caught.value)) < 1000
    torch.save({"trainable_linearlayer": names}, tmp_path / "a.pth")
    with pytest.raises(AdapterError) as caught:
        read_checkpoint(tmp_path / "a.pth", "april_gan", small_backbone.info)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("in_place", [False, True])
def test_an_adapter_that_is_replaced_while_it_is_read(tmp_path, monkeypatch, in_place):
    def named(auxiliary):
        return Adapter("a", "april_gan", "b", auxiliary, {"layers": [1]}, {"x": torch.zeros(2)})

    file = save_adapter(named("one"), tmp_path)
    digest_of = adapters.file_sha256

    def replaced(path):
        digest = digest_of(path)
        if in_place:
            os.utime(file, ns=(0, 1))
        else:
            save_adapter(named("two"), tmp_path)
        return digest

    monkeypatch.setattr(adapters, "file_sha256", replaced)
    with pytest.raises(AdapterError, match="changed while it was read"):
        read_adapter(file)


def test_a_file_is_another_once_it_is_written_or_replaced(tmp_path):
    def written(path, content, time):
        path.write_bytes(content)
        os.utime(path, ns=(0, time))

    file, other = tmp_path / "a", tmp_path / "b"
    written(file, b"12", 1)
    first = adapters.identity(file)
    written(file, b"34", 2)
    assert adapters.identity(file) != first
    written(file, b"123", 1)
    assert adapters.identity(file) != first
    written(file, b"12", 1)
    assert adapters.identity(file) == first
    written(other, b"12", 1)
    other.replace(file)
    assert adapters.identity(file) != first
