"""AnomalyDINO's mask and rotations against its authors' program."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from vlad.backbones import load_backbone
from vlad.errors import HeadError
from vlad.heads import anomalydino, load_head, memory
from vlad.types import Features


@pytest.fixture(scope="module")
def extract(parity, tmp_path_factory):
    """Images -> features as the program has them: shorter side 224, cut to whole patches."""
    folder = tmp_path_factory.mktemp("dino") / "tinydinov2_14"
    parity.module("weights_dinov2").write_folder("tinydinov2_14", 0, folder)
    backbone = load_backbone(str(folder), device="cpu")
    mean, std = (torch.tensor(x)[:, None, None] for x in (backbone.mean, backbone.std))

    def pixels(image: Image.Image) -> torch.Tensor:
        scale = 224 / min(image.size)
        width, height = (int(side * scale) for side in image.size)
        small = image.resize((width, height), Image.Resampling.BICUBIC)
        whole = torch.from_numpy(np.array(small)).movedim(-1, 0).float() / 255
        return ((whole - mean) / std)[:, : height // 14 * 14, : width // 14 * 14]

    @torch.no_grad()
    def run(images) -> Features:
        batch = torch.stack([pixels(image) for image in images])
        found = backbone.vision(batch, taps=[(None, 12)], pos_embed="bicubic_offset")
        tokens = backbone.vision.ln_post(found.patches[None, 12])
        return Features(None, {12: tokens}, found.grid, tuple(batch.shape[-2:]))

    return run


@pytest.mark.parametrize("category", ["bottle", "metal_nut"])
@pytest.mark.parametrize("mode", ["agnostic", "mask_both"])
def test_as_its_authors_have_it(extract, parity, parity_image, monkeypatch, category, mode):
    case = parity.case("anomalydino_tinydinov2_14")
    options = {"agnostic": {}, "mask_both": {"rotations": 1, "mask_references": True}}[mode]
    head = load_head("anomalydino", **options)
    head.fit(extract(head.normal_views(parity_image(f"{category}/train/good/000.png"))))
    names = [str(name) for name in case[f"{mode}.{category}.names"]]
    features = extract([parity_image(f"{category}/test/{name}") for name in names])
    scores = head.score(features).image_score
    np.testing.assert_allclose(scores, case[f"{mode}.{category}.score"], atol=1e-4)
    monkeypatch.setattr(memory, "upsample", lambda grid_map, size, sigma: grid_map)
    distances = head.score(features).anomaly_map
    # cv2 turns some pixels of the rotated references into another of two neighbouring levels
    atol = 2e-4 if mode == "agnostic" else 1e-5
    np.testing.assert_allclose(distances, case[f"{mode}.{category}.patch_dist"], atol=atol)


def test_batched_as_its_authors_have_it(extract, parity, parity_image):
    case = parity.case("anomalydino_batched_tinydinov2_14")
    pool = load_head("anomalydino", batched=True, mask=None, quantile=0.002).pool()
    names = [str(name) for name in case["names"]]
    for some in (names[:4], names[4:]):
        pool.add(extract([parity_image(name) for name in some]))
    scores = torch.cat([part.image_score for part in pool.scores()])
    np.testing.assert_allclose(scores, case["score"], atol=1e-5)


def drawn(count: int, seed: int) -> Features:
    tokens = torch.randn(count, 9, 4, generator=torch.Generator().manual_seed(seed))
    return Features(None, {2: tokens}, (3, 3), (24, 24))


def test_batched_against_a_plain_version(monkeypatch):
    monkeypatch.setattr(anomalydino, "upsample", lambda grid_map, size, sigma: grid_map.flatten(1))
    images = drawn(5, 0)
    images.patches[2][3] = float("nan")
    pool = load_head("anomalydino", batched=True, mask=None, quantile=0.2).pool()
    pool.add(images)
    found = torch.cat([part.anomaly_map for part in pool.scores()])
    unit = torch.nn.functional.normalize(images.patches[2], dim=-1)
    for i in (0, 1, 2, 4):
        others = torch.cat([unit[j] for j in (0, 1, 2, 4) if j != i])
        for place in range(9):
            nearest = (1 - others @ unit[i, place]).sort().values
            expected = nearest[:4].mean()  # k = int(0.2 · 27) = 5
            torch.testing.assert_close(found[i, place], expected)
    assert found[3].isnan().all()


def test_batched_needs_others():
    pool = load_head("anomalydino", batched=True).pool()
    pool.add(drawn(1, 0))
    with pytest.raises(HeadError, match="give at least 2"):
        next(pool.scores())
    with pytest.raises(HeadError, match="is batched; call `score` without"):
        load_head("anomalydino", batched=True).fit(drawn(1, 0))


def test_where_the_mask_finds_nothing_all_patches_count():
    images, normal = drawn(2, 0), drawn(2, 1)
    masked = load_head("memory", mask="grid", mask_references=True)
    with pytest.warns(UserWarning, match="finds no object in some images"):
        found = masked.fit(normal).score(images)
    expected = load_head("memory").fit(normal).score(images)
    assert torch.equal(found.anomaly_map, expected.anomaly_map)
