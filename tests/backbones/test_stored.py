"""The backbones on this disk: found where the libraries keep them, by the names they load under."""

import json
import sys

import pytest
from huggingface_hub import constants

from vlad.backbones.stored import stored_backbones


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Puts files into an empty cache of the model hub: (repository, name -> content)."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("vlad.backbones.stored.OPEN_CLIP_CACHE", tmp_path / "clip")

    def add(repository: str, files: dict[str, str]) -> None:
        folder = tmp_path / f"models--{repository.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("abc")
        snapshot = folder / "snapshots" / "abc"
        snapshot.mkdir(parents=True)
        for name, content in files.items():
            (snapshot / name).write_text(content)

    return add


def test_nothing_but_the_built_in_backbone_at_first(hub):
    assert [backbone.name for backbone in stored_backbones()] == ["vlad-tiny"]


def test_without_caches_no_library_is_asked(tmp_path, monkeypatch):
    """They take seconds to import."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "no hub"))
    monkeypatch.setattr("vlad.backbones.stored.OPEN_CLIP_CACHE", tmp_path / "no clip")
    for name in ("open_clip", "vlad.backbones.transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    assert [backbone.name for backbone in stored_backbones()] == ["vlad-tiny"]
    (tmp_path / "no clip").mkdir()
    with pytest.raises(ImportError):
        stored_backbones()


def test_those_of_transformers_that_vlad_can_read(hub):
    for kind, repository in (("clip", "me/clip"), ("bert", "me/bert")):
        files = {"config.json": json.dumps({"model_type": kind}), "model.safetensors": "12345"}
        hub(repository, files)
    hub("me/damaged", {"config.json": "{", "model.safetensors": "1"})
    hub("me/list", {"config.json": "[]", "model.safetensors": "1"})
    hub("me/config-only", {"config.json": json.dumps({"model_type": "clip"})})
    found = {backbone.name: backbone.size for backbone in stored_backbones()}
    assert found.pop("vlad-tiny") > 1e6
    assert found == {"me/clip": 5}


def test_those_of_open_clip_under_model_and_tag(hub):
    import open_clip

    source = open_clip.get_pretrained_cfg("ViT-L-14-336", "openai")["hf_hub"]
    hub(source.rstrip("/"), {"open_clip_model.safetensors": "1234567"})
    found = {backbone.name: backbone.size for backbone in stored_backbones()}
    assert found.pop("vlad-tiny")
    assert found == {"ViT-L-14-336/openai": 7, "ViT-L-14-336-quickgelu/openai": 7}


def test_those_of_timm_and_of_other_kinds_of_open_clip(hub):
    for repository in ("timm/resnet10t.c3_in1k", "timm/not_a_network", "timm/ViT-B-16-SigLIP"):
        hub(repository, {"model.safetensors": "12345", "open_clip_model.safetensors": "123"})
    found = {backbone.name for backbone in stored_backbones()}
    assert found == {"vlad-tiny", "timm/resnet10t.c3_in1k", "ViT-B-16-SigLIP/webli"}
