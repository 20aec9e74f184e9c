"""Backbones that cannot be loaded: unknown names, files that are none, no network."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from vlad.backbones import load_backbone, network
from vlad.errors import BackboneError


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nonsense", "Unknown backbone 'nonsense'"),
        ("./missing.pt", "Unknown backbone"),
        ("ViT-B-32=missing.pt", "Weights file missing.pt not found"),
        ("ViT-B-32/nonsense", "no pretrained tag 'nonsense'"),
    ],
)
def test_unknown_names(name, words):
    with pytest.raises(BackboneError, match=words):
        load_backbone(name)


@pytest.mark.parametrize("name", ["ViT-B-32/laion2b_s34b_b79k", "openai/clip-vit-base-patch32"])
def test_no_network_and_no_weights(name, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("VLAD_OFFLINE", "1")
    with pytest.raises(BackboneError, match=r"network is forbidden.*a local file as `backbone`"):
        load_backbone(name)


def test_files_that_are_no_clip(tmp_path):
    (tmp_path / "text.pt").write_text("not weights")
    with pytest.raises(BackboneError, match="not readable as weights"):
        load_backbone(str(tmp_path / "text.pt"))
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(BackboneError, match="has no CLIP"):
        load_backbone(str(tmp_path / "other.safetensors"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BackboneError, match=r"no config\.json"):
        load_backbone(str(tmp_path / "empty"))


def test_a_pickle_never_runs_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"x": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(BackboneError, match="not readable"):
        load_backbone(str(tmp_path / "evil.pt"))
    assert not (tmp_path / "ran").exists()


def test_a_missing_tensor_is_named(small_file, tmp_path):
    state = load_file(small_file)
    del state["visual.ln_post.bias"]
    save_file(state, tmp_path / "holed.safetensors")
    with pytest.raises(BackboneError, match=r"visual\.ln_post\.bias is missing from"):
        load_backbone(str(tmp_path / "holed.safetensors"))


def test_offline_is_read_from_either_variable(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("VLAD_OFFLINE", raising=False)
    assert not network.is_offline()
    monkeypatch.setenv("VLAD_OFFLINE", "1")
    assert network.is_offline()


@pytest.mark.parametrize(
    "change",
    [{"head_width": 0}, {"head_width": 7}, {"width": 32.5}, {"width": -1}, {"nonsense": 1}],
)
def test_an_impossible_architecture_is_one_sentence(small_config, small_file, tmp_path, change):
    shutil.copy(small_file, tmp_path / "mine.safetensors")
    config = {**small_config, "vision_cfg": {**small_config["vision_cfg"], **change}}
    (tmp_path / "mine.json").write_text(json.dumps(config))
    with pytest.raises(BackboneError, match="not an open_clip model config"):
        load_backbone(str(tmp_path / "mine.safetensors"), device="cpu")


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """A model hub that does not answer, and the number of times it was tried."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("VLAD_CACHE", str(tmp_path))
    tried = []
    monkeypatch.setattr(network, "_connects", lambda host, port: tried.append(host))
    return tried


def test_a_hub_out_of_reach_is_one_sentence_and_remembered_where_it_is_not_needed(
    no_hub, capfd, monkeypatch, tmp_path
):
    for name in ("ViT-B-32/openai", "openai/clip-vit-base-patch16"):
        with pytest.raises(BackboneError, match=r"does not answer: .* vlad-tiny"):
            load_backbone(name, device="cpu")
    assert len(no_hub) == 2  # the user may have connected since
    assert not network.hub_answers() and len(no_hub) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert [line.split()[0] for line in said.err.splitlines()] == ["Fetching", "Fetching"]
    since = (tmp_path / "hub-out-of-reach").stat().st_mtime
    for age, tries in ((299, 2), (301, 3)):
        clock = SimpleNamespace(time=lambda age=age: since + age)
        monkeypatch.setattr(network, "time", clock)
        assert not network.hub_answers() and len(no_hub) == tries


def test_a_hub_that_says_nothing_is_waited_for_a_little(monkeypatch):
    asked, waited = [], []

    def connect(*args):
        asked.append(args)
        raise TimeoutError

    monkeypatch.setattr(network.socket, "create_connection", connect)
    assert not network._connects("hub", 443) and asked == [(("hub", 443), 4)]
    # while a name is resolved no timeout of a socket holds
    monkeypatch.setattr(network.threading.Thread, "join", lambda _, wait: waited.append(wait))
    assert not network._connects("hub", 443) and waited == [4]
