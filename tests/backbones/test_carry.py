"""The weights of a backbone from a model hub travel from the local cache into a folder."""

import os
import shutil

import pytest
import torch
from huggingface_hub import constants

from vlad.backbones import load_backbone
from vlad.backbones.carry import carry
from vlad.backbones.transformers.look import LOOK_FILES
from vlad.errors import BackboneError

REPOSITORY = "someone/small-dinov2"


@pytest.fixture
def cached(dinov2_folder, tmp_path, monkeypatch):
    """The cache of the model hub with one repository, laid out as its library does: links."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("VLAD_OFFLINE", "1")
    folder = tmp_path / "hub" / f"models--{REPOSITORY.replace('/', '--')}"
    snapshot, blobs = folder / "snapshots" / "abc", folder / "blobs"
    for made in (folder / "refs", snapshot, blobs):
        made.mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    for place, file in enumerate(sorted(dinov2_folder.iterdir())):
        shutil.copy(file, blobs / str(place))
        os.symlink(f"../../blobs/{place}", snapshot / file.name)
    (absent := folder / ".no_exist" / "abc").mkdir(parents=True)
    for name in LOOK_FILES:
        (absent / name).touch()
    return tmp_path / "hub"


def test_a_copy_of_the_cache_works_without_it(cached, tmp_path):
    backbone = load_backbone(REPOSITORY, "cpu")
    copy = carry(REPOSITORY, backbone, tmp_path / "weights")
    assert not any(file.is_symlink() for file in (tmp_path / "weights").iterdir())
    shutil.rmtree(cached)
    found = load_backbone(copy, "cpu")
    side = found.info.image_size
    pixels = torch.randn(1, 3, side, side)
    with torch.no_grad():
        one, other = (b.forward(pixels, pos_embed=b.info.pos_embed) for b in (backbone, found))
    assert torch.equal(one.last, other.last)


def test_an_empty_cache_is_said(cached, tmp_path):
    backbone = load_backbone(REPOSITORY, "cpu")
    shutil.rmtree(cached)
    with pytest.raises(BackboneError, match="not in the local cache; give a folder"):
        carry(REPOSITORY, backbone, tmp_path / "weights")


def test_a_copy_that_reads_images_otherwise_is_refused(cached, tmp_path):
    backbone = load_backbone(REPOSITORY, "cpu")
    backbone.mean = (0.5, 0.5, 0.5)
    with pytest.raises(BackboneError, match="reads images otherwise"):
        carry(REPOSITORY, backbone, tmp_path / "weights")
