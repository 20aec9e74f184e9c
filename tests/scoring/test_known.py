"""Marked defects on their way to the head that remembers them."""

import numpy as np
import pytest
import torch
from PIL import Image

import vlad
from vlad.errors import HeadError, InputError
from vlad.images.tiles import Tiling
from vlad.scoring.known import fit_known
from vlad.scoring.panel import Panel
from vlad.types import Sample


@pytest.fixture
def defects(tmp_path, drawn):
    """A folder with one marked defect of each of two kinds."""
    for kind, place, box in (("hole", 4, (0, 0, 40, 40)), ("dent", 5, (40, 0, 80, 40))):
        for folder in (tmp_path / kind, tmp_path / "ground_truth" / kind):
            folder.mkdir(parents=True)
        image = drawn[place].resize((80, 80))
        image.save(tmp_path / kind / "0.png")
        mask = Image.new("L", image.size)
        mask.paste(255, box)
        mask.save(tmp_path / "ground_truth" / kind / "0_mask.png")
    return tmp_path


def test_a_detector_knows_the_marked_patches(defects, small_file, drawn):
    options = {"backbone": str(small_file), "device": "cpu", "layers": (1,), "sigma": 0.0}
    memory = vlad.load("memory", **options).fit(drawn[:2])
    detector = vlad.load("labelled", **options).fit(drawn[:2], known_defects=defects)
    image = defects / "hole" / "0.png"
    gain = (detector.score(image).anomaly_map - memory.score(image).anomaly_map)[0]
    half = gain.shape[0] // 2
    # patches of 16 pixels; those inside the marked quarter are their own nearest defects
    inside = gain[8 : half - 8, 8 : half - 8]
    expected = memory.score(image).anomaly_map[0][8 : half - 8, 8 : half - 8]
    np.testing.assert_allclose(inside, expected, atol=1e-4)
    assert gain.min() >= -1e-6
    assert detector.kinds([image, drawn[0]]) == ["hole", ""]


def test_a_saved_detector_knows_them_too(defects, small_file, drawn, tmp_path):
    detector = vlad.load("labelled", backbone=str(small_file), device="cpu")
    detector.fit(drawn[:2], known_defects=defects).save(tmp_path / "saved")
    loaded = vlad.Detector.load(tmp_path / "saved")
    assert loaded.head_.known == ["dent", "hole"]
    np.testing.assert_array_equal(
        loaded.score(drawn).image_score, detector.score(drawn).image_score
    )


def known_of(panel, defects, size=(80, 80)):
    masks = defects / "ground_truth"
    samples = [
        Sample(defects / kind / "0.png", kind, defect=kind, mask=masks / kind / "0_mask.png")
        for kind in ("hole", "dent")
    ]
    fit_known(panel, samples, lambda path: Image.open(path).convert("RGB").resize(size))
    return panel


def test_masks_are_cut_into_tiles_as_images_are(defects, small_backbone, drawn):
    heads = {"labelled": vlad.heads.load_head("labelled", layers=(1,))}
    panel = Panel(small_backbone, heads, tiling=Tiling(40, 0.0))
    panel.fit(drawn[:2])
    memory = known_of(panel, defects).heads["labelled"].memory_
    patches = (64 // panel.backbone.info.patch_size) ** 2
    # each mask fills one of four tiles
    assert len(memory["1:hole"]) == len(memory["1:dent"]) == patches
    assert not torch.equal(memory["1:hole"], memory["1:dent"])


def test_what_is_refused(defects, small_backbone, drawn):
    panel = Panel(small_backbone, {"memory": vlad.heads.load_head("memory")}).fit(drawn[:2])
    with pytest.raises(HeadError, match="No head here learns known defects"):
        known_of(panel, defects)
    panel = Panel(small_backbone, {"labelled": vlad.heads.load_head("labelled")}).fit(drawn[:2])
    with pytest.raises(InputError, match="has 80×80 pixels, but its image"):
        known_of(panel, defects, size=(80, 40))
    Image.new("L", (80, 80)).save(defects / "ground_truth" / "hole" / "0_mask.png")
    with pytest.raises(InputError, match="is empty; correct it"):
        known_of(panel, defects)
