"""How images come to a model: what its own file says of them, and what is done."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import OWN, TINY

from vlad.backbones import load_backbone
from vlad.backbones.transformers import describe
from vlad.errors import BackboneError
from vlad.heads import load_head
from vlad.images import to_pixels
from vlad.scoring.extractor import Extractor

CROPPED = {
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.5, 0.6, 0.7],
    "resample": 2,
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return TINY["vit"]().save(tmp_path_factory.mktemp("vit"))


@pytest.fixture
def said(made):
    """A function that writes preprocessor_config.json, or another file -> the folder's name."""
    written = []

    def write(content: dict, file: str = "preprocessor_config.json") -> str:
        (made / file).write_text(json.dumps(content))
        written.append(made / file)
        return str(made)

    yield write
    for file in written:
        file.unlink(missing_ok=True)


def test_the_file_says_how_images_are_resized(said, drawn):
    backbone = load_backbone(said(CROPPED), device="cpu")
    assert (backbone.mean, backbone.std) == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    assert backbone.interpolation == "bilinear"
    spec = load_head("memory").spec(backbone.info)
    found = Extractor(backbone).prepare(drawn[0], [spec])[32, "pil"]
    look = (backbone.mean, backbone.std)
    assert np.array_equal(found, to_pixels(drawn[0], OWN, *look, "pil", "bilinear"))
    assert not np.array_equal(found, to_pixels(drawn[0], OWN, *look))


def test_a_crop_is_said_and_not_taken(said):
    words = "resize to 256 (shortest edge), bilinear; crop the middle 224×224"
    assert describe(said(CROPPED)).preparation == words


def test_the_file_of_a_whole_processor(said):
    name = said({"image_processor": CROPPED}, "processor_config.json")
    assert load_backbone(name, device="cpu").mean == (0.1, 0.2, 0.3)


def test_pixels_may_stay_as_they_are(said):
    backbone = load_backbone(said(CROPPED | {"do_normalize": False}), device="cpu")
    assert (backbone.mean, backbone.std) == ((0, 0, 0), (1, 1, 1))


def test_without_the_file_it_is_that_of_the_kind(made, dinov2_folder):
    backbone = load_backbone(str(made), device="cpu")
    assert (backbone.mean, backbone.interpolation) == ((0.5, 0.5, 0.5), "bilinear")
    assert load_backbone(str(dinov2_folder), device="cpu").interpolation == "bicubic"
    assert backbone.info.preparation == ""


@pytest.mark.parametrize("text", ['{"image_mean": [0', "[]", ""])
def test_a_damaged_file_is_not_passed_over(said, text):
    """Else images would be normalised as those of other models, without a word."""
    name = said({})
    Path(name, "preprocessor_config.json").write_text(text)
    with pytest.raises(BackboneError, match=r"preprocessor_config\.json of .* is no table in JSON"):
        describe(name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"resample": 9}, "resample .* must be a number from 0 to 5"),
        ({"image_std": [1, 0, 1]}, "must be three numbers each"),
        ({"image_mean": "dark"}, "must be three numbers each"),
    ],
)
def test_a_file_that_cannot_be(said, change, words):
    with pytest.raises(BackboneError, match=words):
        describe(said(CROPPED | change))


def test_a_size_that_patches_do_not_fill_is_that_of_its_positions(tmp_path):
    """As of SigLIP at 384 pixels with patches of 14."""
    made = TINY["siglip_vision_model"]().save(tmp_path)
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(config | {"image_size": 38}))
    backbone = load_backbone(str(made), device="cpu")
    assert backbone.info.image_size == 32
    assert backbone.vision(torch.zeros(1, 3, 32, 32)).grid == (4, 4)


@pytest.mark.parametrize("name", ["tinydinov2_14", "tinydinov2reg14"])
def test_weights_under_their_published_names(parity, tmp_path, name):
    """Folders as published have other names of tensors than today's modules."""
    import transformers

    folder = parity.module("weights_dinov2").write_folder(name, 0, tmp_path / name)
    backbone = load_backbone(str(folder), device="cpu")
    model = transformers.AutoModel.from_pretrained(folder).eval()
    pixels = torch.randn(1, 3, 70, 98, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(pixels, output_hidden_states=True)
        found = backbone.vision(
            pixels,
            taps=[(None, 12)],
            pos_embed="bicubic_antialias" if "reg" in name else "bicubic",
        )
    tokens = expected.hidden_states[12][:, 5 if "reg" in name else 1 :]
    off = (found.patches[None, 12] - tokens).square().mean().sqrt()
    assert off < 2e-6 * tokens.std()
