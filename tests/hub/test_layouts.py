"""Backbones in the released layouts, loaded from a hub by the clients that people have."""

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import transformers
from click.testing import CliRunner
from huggingface_hub import constants

import vlad
from vlad.backbones import describe_remote, load_backbone
from vlad.cli import main
from vlad.errors import BackboneError

sys.path.append(str(Path(__file__).parent))
from layouts import LAYOUTS, as_bin, of_laion, of_roberta, of_siglip

ALL = LAYOUTS | {"siglip": of_siglip, "roberta": of_roberta, "laion": of_laion}
OWNERS = {"bert-base-uncased": "google-bert/bert-base-uncased"}
OWNERS |= {"roberta-base": "FacebookAI/roberta-base"}
SENTENCES = ["a photo of a flawless nut", "a damaged nut with a scratch"]


@pytest.fixture
def cache(hub, tmp_path, monkeypatch):
    """An empty cache of the hub's client."""
    made = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(made))
    monkeypatch.setattr("vlad.backbones.stored.OPEN_CLIP_CACHE", tmp_path / "clip")
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)  # it keeps the hub of a test before
    hub.answer = renamed
    return made


def renamed(handler):
    """Sends those who use the name that a repository had before owners were part of names."""
    for old, new in OWNERS.items():
        if f"/{old}" in handler.path and new not in handler.path:
            where = handler.path.replace(f"/{old}", f"/{new}")
            handler.reply(307, {}, headers={"Location": where})
            return True
    return False


@pytest.fixture
def put(hub, cache, monkeypatch):
    """Puts a layout on the hub."""

    def put(kind, evil=None, **settings):
        layout = ALL[kind]()
        for name, files in layout.repositories.items():
            files = {f: evil if evil and f.endswith(".bin") else x for f, x in files.items()}
            hub.add(OWNERS.get(name, name), files, **settings)
        for name, config in layout.configs.items():
            monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
        return layout

    return put


def files_in(cache):
    """Repository/file of all that was downloaded."""
    return {
        f"{path.parts[-4].removeprefix('models--').replace('--', '/')}/{path.name}"
        for path in cache.glob("models--*/snapshots/*/*")
    }


def downloads(hub):
    """The requests for contents of files."""
    others = ("/api/models/", "/api/agent-harnesses")
    return [asked for asked in hub.asked if asked[0] == "GET" and not asked[1].startswith(others)]


def cli(*args):
    return CliRunner().invoke(main, [*map(str, args)])


def scores(name, images, text):
    """What a user gets: scores of images, and what they rest on of sentences."""
    detector = vlad.load("memory", backbone=str(name), device="cpu", bank=None, image_size=32)
    detector.fit([images / "0.png"])
    found = [detector.score([images / "1.png"]).image_score]
    if text:
        found.append(load_backbone(str(name), "cpu").encode_text(SENTENCES).numpy())
    return found


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_released_layout(kind, hub, put, cache, images, tmp_path, monkeypatch):
    layout = put(kind)
    first = scores(layout.name, images, layout.text)
    made = load_backbone(layout.name, "cpu")
    look = (made.mean[0], made.std[0], made.interpolation, made.info.image_size)
    assert look == layout.reads
    assert files_in(cache) == layout.needed
    assert len(downloads(hub)) == len(layout.needed)
    if layout.text:
        assert not np.allclose(*first[1])

    assert not any("/commits/" in asked[1] for asked in hub.asked)  # of a service that converts
    hub.asked.clear()
    assert same(first, scores(layout.name, images, layout.text))
    assert hub.asked == []

    done = cli("backbones", "fetch", layout.name, "--to", tmp_path / "fetched")
    assert done.exit_code == 0, done.output
    detector = vlad.load("memory", backbone=layout.name, device="cpu", bank=None, image_size=32)
    detector.fit([images / "0.png"]).save(tmp_path / "detector", with_weights=True)
    hub.asked.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert same(first, scores(layout.name, images, layout.text))
    shutil.rmtree(cache)
    assert same(first, scores(tmp_path / "fetched", images, layout.text))
    found = vlad.Detector.load(tmp_path / "detector").score([images / "1.png"])
    assert np.array_equal(found.image_score, first[0])
    if layout.text:
        assert same(first, scores(tmp_path / "detector" / "weights", images, True))
    assert hub.asked == []


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("kind", "quick"),
    [
        ("openai", True),
        ("laion", True),
        ("mine_by_open_clip", None),
        ("timm_siglip", False),
        ("clipa", False),
    ],
)
def test_sentences_are_read_as_by_open_clip(kind, quick, put, cache):
    """All ways to load a model could agree on a wrong activation or tokenizer."""
    layout = put(kind)
    sentences = ["A FLAWLESS nut, made in 2024.", "a damaged_nut: (with a scratch)!"]
    found = load_backbone(layout.name, "cpu").encode_text(sentences)
    where = [layout.name] if quick is None else layout.name.split("/")
    library = open_clip.create_model(*where, force_quick_gelu=bool(quick)).eval()
    with torch.no_grad():
        expected = library.encode_text(open_clip.get_tokenizer(where[0])(sentences))
    normalised = (torch.nn.functional.normalize(x, dim=-1) for x in (found, expected))
    torch.testing.assert_close(*normalised, atol=1e-5, rtol=0)


def test_a_gated_repository(hub, put, cache, monkeypatch):
    """The form on its page is filled in, and the token is of one who did."""
    layout = put("dinov3", gated=True)
    for token, words in (("hf_writer", "does not open it"), ("", "hf auth login")):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(BackboneError, match=words):
            load_backbone(layout.name, "cpu")
    assert not files_in(cache)
    hub.writers["hf_granted"] = "facebook"
    monkeypatch.setenv("HF_TOKEN", "hf_granted")
    load_backbone(layout.name, "cpu")
    monkeypatch.setenv("HF_TOKEN", "")
    load_backbone(layout.name, "cpu")  # what is on this disk stays usable


@pytest.mark.parametrize("kind", ["clip", "openai", "timm", "mine_by_open_clip", "mine_by_timm"])
def test_a_description_needs_no_weights_however_often(kind, put, cache):
    layout = put(kind)
    for _ in range(2):
        assert describe_remote(layout.name).name == layout.name
    assert not any(file.endswith((".safetensors", ".bin")) for file in files_in(cache))
    load_backbone(layout.name, "cpu")
    assert describe_remote(layout.name) is None


def test_what_another_program_left_out_of_the_cache_is_fetched(hub, put, cache):
    """Else images would be normalised as those of other models, without a word."""
    layout = put("clip")
    transformers.AutoModel.from_pretrained(layout.name)
    assert files_in(cache) == {f"{layout.name}/{f}" for f in ("config.json", "pytorch_model.bin")}
    assert load_backbone(layout.name, "cpu").mean == (0.48, 0.48, 0.48)
    assert files_in(cache) == layout.needed
    assert len(downloads(hub)) == len(layout.needed)


@pytest.mark.parametrize("start", ["", "hf-hub:"])
def test_a_look_that_the_cache_lacks_is_asked_for_and_never_guessed(
    start, hub, put, cache, monkeypatch
):
    layout = put("dinov2")
    transformers.AutoModel.from_pretrained(layout.name)
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    with pytest.raises(BackboneError, match=r"^preprocessor_config\.json, which tells how"):
        load_backbone(start + layout.name, "cpu")
    monkeypatch.delenv("TRANSFORMERS_OFFLINE")
    hub.asked.clear()
    assert load_backbone(start + layout.name, "cpu").mean == (0.48, 0.48, 0.48)
    assert [asked.path.rpartition("/")[2] for asked in downloads(hub)] == [
        "preprocessor_config.json"
    ]


@pytest.mark.parametrize("gone", ["model-00002", "tokenizer.json", "special_tokens_map.json"])
def test_an_interrupted_download_goes_on(gone, hub, put, cache):
    layout = put("siglip_2_in_shards")
    first = load_backbone(layout.name, "cpu")
    for file in cache.glob(f"models--*/snapshots/*/{gone}*"):
        file.resolve().unlink()
        file.unlink()
    hub.asked.clear()
    again = load_backbone(layout.name, "cpu")
    assert again.weights == first.weights and again.config == first.config
    assert len(downloads(hub)) == 1 and files_in(cache) == layout.needed


@pytest.mark.parametrize("kind", ["clip", "laion", "vitamin", "timm_bin"])
def test_a_pickle_from_the_hub_never_runs_code(kind, put, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    layout = put(kind, evil=as_bin({"x": Evil(), "y": torch.ones(1)}))
    with pytest.raises(BackboneError):
        load_backbone(layout.name, "cpu")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["dinov2", "timm_siglip"])
def test_any_repository_by_the_name_that_open_clip_gives_it(kind, put, cache):
    layout = put(kind)
    (repository,) = layout.repositories
    one, other = (load_backbone(name, "cpu") for name in (layout.name, f"hf-hub:{repository}"))
    assert one.weights == other.weights and one.mean == other.mean
    assert other.info.name == f"hf-hub:{repository}"
    if layout.text:
        assert torch.equal(one.encode_text(SENTENCES), other.encode_text(SENTENCES))


def test_a_text_encoder_named_by_a_repository(put, cache, monkeypatch):
    """That would be code of the client's choice; and its configuration is in another one."""
    layout = put("roberta")
    with pytest.raises(BackboneError, match=r"text encoder 'me/roberta', which none of open_clip"):
        describe_remote("hf-hub:me/biomed")
    first = load_backbone(layout.name, "cpu").encode_text(SENTENCES)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert torch.equal(first, load_backbone(layout.name, "cpu").encode_text(SENTENCES))
    done = cli("backbones", "fetch", layout.name, "--to", "x")
    assert done.exit_code == 2 and "from roberta-base, by that name only" in done.output


@pytest.mark.skipif(bool(importlib.util.find_spec("sentencepiece")), reason="it is installed")
def test_the_first_siglip_needs_a_package(put, cache):
    layout = put("siglip")
    with pytest.raises(BackboneError, match=r"needs a package .*SentencePiece.*; install it\."):
        load_backbone(layout.name, "cpu")
    assert not any(file.endswith(".safetensors") for file in files_in(cache))
