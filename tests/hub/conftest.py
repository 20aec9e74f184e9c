"""A hub of each test's own, and a detector and an adapter to send to it."""

from __future__ import annotations

import time
from types import SimpleNamespace

import open_clip
import pytest
import timm
import torch
from hub import Hub
from huggingface_hub import close_session, constants, hf_api
from safetensors.torch import save

import vlad


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that the client asks, with the token of an owner who may write."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("VLAD_OFFLINE", raising=False)
    monkeypatch.setenv("VLAD_CACHE", str(tmp_path / "cache"))  # which remembers a hub out of reach
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with Hub() as made:
        monkeypatch.setattr(constants, "ENDPOINT", made.url)
        monkeypatch.setattr(hf_api.api, "endpoint", made.url)
        template = f"{made.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        close_session()  # which is of another hub, and has read the variables of proxies
        yield made
        close_session()


@pytest.fixture
def waits(monkeypatch):
    """The seconds that the hub client would have waited, and does not."""
    from huggingface_hub import file_download
    from huggingface_hub.utils import _http

    waited = []
    clock = SimpleNamespace(sleep=waited.append, time=time.time)
    monkeypatch.setattr(_http, "time", clock)
    monkeypatch.setattr(file_download, "time", clock)
    return waited


@pytest.fixture
def models(hub, dinov2_folder, small_clip, small_config, monkeypatch):
    """library -> a backbone that it loads from the hub, and the file of its weights there."""
    hub.add("you/dino", {file.name: file.read_bytes() for file in dinov2_folder.iterdir()})
    torch.manual_seed(0)
    timm_weights = save(timm.create_model("test_vit").state_dict())
    hub.add("timm/test_vit.r160_in1k", {"model.safetensors": timm_weights})
    clip_weights = save({k: v.contiguous() for k, v in small_clip.state_dict().items()})
    hub.add("you/clip", {"open_clip_model.safetensors": clip_weights})
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Small", small_config)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "Small", {"a": {"hf_hub": "you/clip/"}})
    return {
        "transformers": ("you/dino", "/model.safetensors"),
        "timm": ("timm/test_vit.r160_in1k", "/model.safetensors"),
        "open_clip": ("Small/a", "/open_clip_model.safetensors"),
    }


@pytest.fixture
def saved(images, tmp_path):
    """A fitted and calibrated detector on the built-in backbone."""
    made = vlad.load("memory", backbone="vlad-tiny", device="cpu", bank=None)
    made.fit([images / "0.png", images / "1.png"])
    made.calibrate([images / f"{i}.png" for i in (2, 3)], false_alarms=0.4)
    return made.save(tmp_path / "detector")
