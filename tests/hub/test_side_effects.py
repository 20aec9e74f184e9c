"""What downloads leave of the settings of the process, which are the caller's."""

import logging
import os
import threading
from importlib.metadata import EntryPoint

import pytest
from huggingface_hub import constants, get_session

from vlad.backbones import load_backbone
from vlad.backbones.network import OFFLINE, from_network
from vlad.errors import BackboneError

CONVERSION = "DISABLE_SAFETENSORS_CONVERSION"


def settings():
    """What a download changes for a while."""
    hooks = {kind: [*found] for kind, found in get_session().event_hooks.items()}
    return {**os.environ}, constants.HF_HUB_OFFLINE, logging.root.manager.disable, hooks


@pytest.mark.parametrize(
    ("name", "variable"),
    [("timm/test_vit.r160_in1k", ""), ("Small/a", ""), ("me/none", "")]
    + [("you/dino", variable) for variable in ("", *OFFLINE)],
)
def test_a_load_leaves_all_as_it_was(models, monkeypatch, name, variable):
    if variable:
        monkeypatch.setenv(variable, "1")
    monkeypatch.setenv(CONVERSION, "0")
    before = settings()
    if variable or name == "me/none":
        words = f"network is forbidden .{variable} is set" if variable else "has no me/none"
        with pytest.raises(BackboneError, match=words):
            load_backbone(name, "cpu")
    else:
        load_backbone(name, "cpu")
    assert settings() == before
    monkeypatch.delenv(CONVERSION)
    if variable:
        monkeypatch.delenv(variable)
    if name != "me/none":
        load_backbone(name, "cpu")
    assert CONVERSION not in os.environ


def test_two_threads_at_once_leave_all_as_it_was(hub):
    """Each would put back what the other one had set."""
    before, gone = settings(), threading.Event()
    inside = [threading.Event(), threading.Event()]

    def load(which, until):
        with from_network("x", whole=True):
            inside[which].set()
            until.wait(30)

    leave = threading.Event()
    one, other = (threading.Thread(target=load, args=x) for x in ((0, leave), (1, gone)))
    one.start()
    assert inside[0].wait(30)
    other.start()
    assert not inside[1].wait(0.5)
    leave.set()
    one.join()
    gone.set()
    other.join()
    assert inside[1].is_set() and settings() == before


def test_a_backbone_of_another_package_meets_the_same_ban(hub, monkeypatch):
    made = []
    entry = EntryPoint("other", "x", "vlad.backbones")
    monkeypatch.setattr(EntryPoint, "load", lambda _: lambda: made.append(constants.HF_HUB_OFFLINE))
    monkeypatch.setattr("vlad.backbones.entry_points", lambda **_: [entry])
    monkeypatch.setenv("VLAD_OFFLINE", "1")
    with pytest.raises(BackboneError):  # None is no backbone
        load_backbone("other", "cpu")
    assert made == [True] and not constants.HF_HUB_OFFLINE
