"""A hub of each test's own, and a detector and an adapter to send to it."""

from __future__ import annotations

import pytest
from hub import Hub
from huggingface_hub import constants

import vlad


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that the client asks, with the token of an owner who may write."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("VLAD_OFFLINE", raising=False)
    monkeypatch.setenv("VLAD_CACHE", str(tmp_path / "cache"))  # which remembers a hub out of reach
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    with Hub() as made:
        monkeypatch.setattr(constants, "ENDPOINT", made.url)
        template = f"{made.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield made


@pytest.fixture
def saved(images, tmp_path):
    """A fitted and calibrated detector on the built-in backbone."""
    made = vlad.load("memory", backbone="vlad-tiny", device="cpu", bank=None)
    made.fit([images / "0.png", images / "1.png"])
    made.calibrate([images / f"{i}.png" for i in (2, 3)], false_alarms=0.4)
    return made.save(tmp_path / "detector")
