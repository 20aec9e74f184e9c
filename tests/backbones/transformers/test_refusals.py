"""What vlad does not load from a folder of transformers is refused in one sentence."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import TINY

from vlad.backbones import load_backbone
from vlad.backbones.transformers import describe
from vlad.backbones.transformers.kinds import KINDS
from vlad.errors import BackboneError


@pytest.fixture
def folder(tmp_path):
    """A function (kind, changes of config.json) -> the folder of a small model."""

    def make(kind: str = "vit", **changes: object):
        made = TINY[kind]().save(tmp_path / kind)
        config = json.loads((made / "config.json").read_text())
        (made / "config.json").write_text(json.dumps(config | changes))
        return made

    return make


def without_weights(made):
    (made / "model.safetensors").unlink()
    return made


@pytest.mark.parametrize("kind", [kind for kind in TINY if kind in KINDS])
def test_a_description_needs_no_weights(folder, kind):
    made = folder(kind)
    loaded = load_backbone(str(made), device="cpu").info
    assert describe(str(without_weights(made))) == loaded


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "bert"}, "is a bert model; choose one of type clip, .*, timm_wrapper"),
        ({"model_type": None}, "of no known type"),
        (
            {"model_type": "mine", "auto_map": {"AutoModel": "mine.Model"}},
            "code of its own, which vlad never runs",
        ),
        ({"num_hidden_layers": 10**6}, "over the limit of 256"),
        ({"image_size": [32, 40]}, "32×40"),
        ({"image_size": "large"}, "cannot be read"),
    ],
)
def test_a_config_is_refused_before_weights_are_read(folder, changes, words):
    made = without_weights(folder(**changes))
    for read in (load_backbone, describe):
        with pytest.raises(BackboneError, match=words) as error:
            read(str(made))
        assert "\n" not in str(error.value)


def test_code_of_a_known_kind_is_not_run(folder, tmp_path):
    made = folder(auto_map={"AutoModel": "mine.Model", "AutoConfig": "mine.Config"})
    (made / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert load_backbone(str(made), device="cpu").info.depth == 3
    assert not (tmp_path / "ran").exists()


def test_stages_of_a_network_are_counted_too(folder):
    made = folder("dinov3_convnext", depths=[1, 1, 10**6, 1])
    with pytest.raises(BackboneError, match="over the limit of 256"):
        describe(str(made))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "hf-hub:me/model"}, "'hf-hub:me/model', which this timm does not have"),
        ({"model_args": {"checkpoint_path": "x.pth"}}, "must not have checkpoint_path"),
        ({"model_args": {"depth": 10**6}}, "over the limit of 256"),
    ],
)
def test_the_wrapper_of_timm_reads_nothing_else(folder, changes, words):
    with pytest.raises(BackboneError, match=words):
        load_backbone(str(folder("timm_wrapper", **changes)), device="cpu")


@pytest.mark.parametrize("kind", [kind for kind, found in KINDS.items() if found.text])
def test_no_tokenizer(folder, kind):
    made = folder(kind)
    for file in made.glob("*token*"):
        file.unlink()
    with pytest.raises(BackboneError, match=r"The tokenizer of .* is missing"):
        load_backbone(str(made), device="cpu")


def test_weights_that_do_not_fit_are_named(folder):
    made = folder()
    with pytest.raises(BackboneError, match=r"no file named model\.safetensors"):
        load_backbone(str(without_weights(made)))
    made = folder()
    state = load_file(made / "model.safetensors")
    kept = {k: v for k, v in state.items() if k != "layernorm.bias"}
    save_file(kept, made / "model.safetensors", {"format": "pt"})
    with pytest.raises(BackboneError, match=r"Tensor layernorm\.bias is missing"):
        load_backbone(str(made))
    wide = state | {"layernorm.bias": torch.ones(33)}
    save_file(wide, made / "model.safetensors", {"format": "pt"})
    with pytest.raises(BackboneError, match=r"layernorm\.bias of .* has shape \(33,\), .* \(32,\)"):
        load_backbone(str(made))


class Evil:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("plain", [False, True])
def test_pickled_weights_run_nothing(folder, tmp_path, plain):
    made = folder()
    state = load_file(made / "model.safetensors")
    file = without_weights(made) / "pytorch_model.bin"
    torch.save(state, file)
    assert load_backbone(str(made), device="cpu").info.depth == 3
    state["evil"] = Evil(tmp_path / "ran")
    if plain:
        file.write_bytes(pickle.dumps(state))
    else:
        torch.save(state, file)
    with pytest.raises(BackboneError, match="is not readable as weights"):
        load_backbone(str(made))
    assert not (tmp_path / "ran").exists()
