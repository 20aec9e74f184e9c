"""Backbones in the released layouts, loaded from a hub by the clients that people have."""

import shutil
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
from click.testing import CliRunner
from huggingface_hub import constants

import vlad
from vlad.backbones import load_backbone
from vlad.cli import main

sys.path.append(str(Path(__file__).parent))
from layouts import LAYOUTS  # noqa: E402

SENTENCES = ["a photo of a flawless nut", "a damaged nut with a scratch"]


@pytest.fixture
def cache(hub, tmp_path, monkeypatch):
    """An empty cache of the hub's client."""
    made = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(made))
    monkeypatch.setattr("vlad.backbones.stored.OPEN_CLIP_CACHE", tmp_path / "clip")
    hub.answer = renamed
    return made


def renamed(handler):
    """Sends those who use the name that a repository had before owners were part of names."""
    where = handler.path.replace("/bert-base-uncased", "/google-bert/bert-base-uncased")
    if "google-bert" in handler.path or where == handler.path:
        return False
    handler.reply(307, {}, headers={"Location": where})
    return True


@pytest.fixture
def put(hub, cache, monkeypatch):
    """Puts a layout on the hub."""

    def put(kind, **settings):
        layout = LAYOUTS[kind]()
        for name, files in layout.repositories.items():
            hub.add(f"google-bert/{name}" if "/" not in name else name, files, **settings)
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


def scores(name, images, text):
    """What a user gets: scores of images, and what they rest on of sentences."""
    detector = vlad.load("memory", backbone=str(name), device="cpu", bank=None, image_size=32)
    detector.fit([images / "0.png"])
    found = [detector.score([images / "1.png"]).image_score]
    if text:
        found.append(load_backbone(str(name), "cpu").encode_text(SENTENCES).numpy())
    return found


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_released_layout(kind, hub, put, cache, images, tmp_path, monkeypatch, capfd):
    layout = put(kind)
    first = scores(layout.name, images, layout.text)
    assert files_in(cache) == layout.needed
    assert len(downloads(hub)) == len(layout.needed)
    if layout.text:
        assert not np.allclose(*first[1])

    hub.asked.clear()
    assert same(first, scores(layout.name, images, layout.text))
    assert hub.asked == []

    done = CliRunner().invoke(
        main, ["backbones", "fetch", layout.name, "--to", str(tmp_path / "fetched")]
    )
    assert done.exit_code == 0, done.output
    detector = vlad.load("memory", backbone=layout.name, device="cpu", bank=None, image_size=32)
    detector.fit([images / "0.png"]).save(tmp_path / "detector", with_weights=True)
    hub.asked.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert same(first, scores(layout.name, images, layout.text))
    shutil.rmtree(cache)
    assert same(first, scores(tmp_path / "fetched", images, layout.text))
    found = vlad.Detector.load(tmp_path / "detector", device="cpu").score([images / "1.png"])
    assert np.array_equal(found.image_score, first[0])
    if layout.text:
        assert same(first, scores(tmp_path / "detector" / "weights", images, True))
    assert hub.asked == []


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
