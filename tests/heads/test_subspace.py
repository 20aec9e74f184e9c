"""SubspaceAD against its authors' program, and its parts against plain ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from vlad.backbones import load_backbone
from vlad.errors import HeadError
from vlad.heads import load_head
from vlad.heads.subspace import residual
from vlad.images.normals import RandomRotations
from vlad.maths.foreground import foreground
from vlad.scoring.panel import Panel
from vlad.types import Features

BLOCKS = [[3, 4, 5, 6, 7, 8, 9]]  # of the 12 of the reference outputs


@pytest.fixture(scope="module")
def backbone(parity, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dino") / "tinydinov2reg14"
    parity.module("weights_dinov2").write_folder("tinydinov2reg14", 0, folder)
    return load_backbone(str(folder), device="cpu")


def resized(image: Image.Image) -> Image.Image:
    """At 224 pixels as their library does it; Pillow's differs by a level here and there."""
    pixels = torch.from_numpy(np.array(image)).movedim(-1, 0)[None]
    small = F.interpolate(pixels, (224, 224), mode="bicubic", antialias=True)
    return Image.fromarray(small[0].movedim(0, -1).numpy())


@pytest.fixture
def score(backbone, parity_image, monkeypatch):
    """Case, shots and options -> scores, maps, and what was learned of each category."""

    def run(case, shots, **options):
        parts, memories = [], {}
        paths = [str(path) for path in case["image_path"]]
        for category in dict.fromkeys(path.split("/")[0] for path in paths):
            angles = list(map(float, case.get(f"{category}.angles", ())))
            monkeypatch.setattr(
                RandomRotations,
                "__call__",
                lambda _, image, angles=angles: map(
                    resized, [image, *(image.rotate(angle) for angle in angles)]
                ),
            )
            head = load_head("subspace", layers=BLOCKS, rotations=len(angles) // 2, **options)
            panel = Panel(backbone, {"head": head}, image_size=224, batch_size=3)
            panel.fit([parity_image(shots[category])])
            own = [path for path in paths if category in path]
            images = [panel.prepare(resized(parity_image(path))) for path in own]
            parts.append(panel.score(images)["head"])
            memories[category] = {k.rpartition(".")[2]: v for k, v in head.memory_.items()}
        scores = torch.cat([part.image_score for part in parts]).numpy()
        return scores, torch.cat([part.anomaly_map for part in parts]).numpy(), memories

    return run


def test_as_its_authors_have_it(score, parity):
    case = parity.case("subspacead_tinydinov2reg14")
    shots = {name: str(case[f"{name}.shots"][0]) for name in ("bottle", "metal_nut")}
    scores, maps, memories = score(case, shots)
    for name, learned in memories.items():
        assert learned["basis"].shape[1] == case[f"{name}.k"]
        np.testing.assert_allclose(learned["mean"], case[f"{name}.mu"], atol=1e-5)
        diagonal = learned["basis"].square().sum(dim=1)
        np.testing.assert_allclose(diagonal, case[f"{name}.projector_diag"], atol=2e-4)
    np.testing.assert_allclose(scores, case["score"], atol=1e-4 * case["score"].std())
    np.testing.assert_allclose(maps[0], case["map"], atol=1e-4 * case["map"].std())


def test_the_mask_of_its_authors(score, parity):
    case = parity.case("subspacead_masks_tinydinov2reg14")
    shots = {name: f"{name}/train/good/001.png" for name in ("bottle", "metal_nut")}
    scores, _, _ = score(case, shots, mask="pca")
    expected = case["pca_normality.score"]
    np.testing.assert_allclose(scores, expected, atol=1e-4 * expected.std())


def test_the_masks_by_attention_of_its_authors(score, parity):
    case = parity.case("subspacead_masks_tinydinov2reg14")
    shots = {name: f"{name}/train/good/001.png" for name in ("bottle", "metal_nut")}
    for mask, name, count in (("attention", "saliency", 8), ("otsu", "saliency_otsu", 4)):
        paths = {"image_path": case["image_path"][:count]}
        scores, _, memories = score(paths, shots, mask=mask)
        for place, learned in enumerate(memories.values()):
            np.testing.assert_allclose(learned["mean"], case[f"{name}.mu{place}"], atol=1e-5)
            assert learned["basis"].shape[1] == case[f"{name}.k{place}"]
        expected = case[f"{name}.score"]
        np.testing.assert_allclose(scores, expected, atol=1e-4 * expected.std())


@pytest.mark.parametrize(("mask", "name"), [("attention", "saliency"), ("otsu", "saliency_otsu")])
def test_each_patch_that_their_masks_keep(backbone, parity, parity_image, mask, name):
    case = parity.case("subspacead_masks_tinydinov2reg14")
    kept = torch.from_numpy(case[f"{name}.residual"]).flatten(1) > 0
    head = load_head("subspace", layers=BLOCKS, mask=mask)
    panel = Panel(backbone, {"head": head}, image_size=224)
    images = [resized(parity_image(str(path))) for path in case["image_path"][: len(kept)]]
    prepared = [panel.prepare(image) for image in images]
    (features,) = panel.extractor.extract(prepared, list(panel.specs.values()))
    assert torch.equal(head.learned_from(features), kept)
    if mask == "attention":  # the map is that of the first image of the second category
        attention = features.further[0].patches[7][4, :, 0]
        expected = torch.from_numpy(case["saliency_map_first_test"]).flatten()
        torch.testing.assert_close(attention, expected, atol=1e-6, rtol=0)


def drawn_features(count: int, seed: int) -> Features:
    generator = torch.Generator().manual_seed(seed)
    scales = torch.logspace(0, -3, 12)
    tokens = torch.randn(count, 16, 12, generator=generator) * scales + 5
    return Features(image=None, patches={1: tokens}, grid=(4, 4), size=(32, 32))


@pytest.mark.parametrize("count_masked", [True, False])
def test_masked_patches_count_or_do_not(count_masked):
    """Of 16 patches of each image the 3 with the least attention are not learned from."""
    images = drawn_features(3, 0)
    attention = torch.rand(3, 16, 1, generator=torch.Generator().manual_seed(0))
    read = replace(images, patches={7: attention})
    options = {"rotations": 0, "mask": "attention", "count_masked": count_masked}
    head = load_head("subspace", **options).fit(replace(images, further=(read,)))
    kept = attention[..., 0].argsort(dim=1)[:, 3:, None].expand(-1, -1, 12)
    total = images.patches[1].gather(1, kept).sum(dim=(0, 1))
    expected = total / (48 if count_masked else 39)
    torch.testing.assert_close(head.memory_["1.mean"], expected)


def test_residuals_against_a_plain_version():
    """Where no rotation is asked for, mean and covariance are of the same patches."""
    normal, queries = drawn_features(3, 0), drawn_features(2, 1)
    head = load_head("subspace", rotations=0).fit(normal)
    rows = normal.patches[1].flatten(0, 1).double().numpy()
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    order = np.argsort(values)[::-1]
    kept = 1 + np.searchsorted(np.cumsum(values[order]) / values.sum(), 0.99)
    basis = vectors[:, order[:kept]]
    centred = queries.patches[1].double().numpy() - rows.mean(axis=0)
    expected = ((centred - centred @ basis @ basis.T) ** 2).sum(axis=-1)
    found = residual(queries.patches[1], head.memory_["1.mean"], head.memory_["1.basis"])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    maps = head.score(queries).anomaly_map.flatten(1)
    top = maps.topk(10, dim=1).values.mean(dim=1)  # 1 % of 32×32 pixels
    torch.testing.assert_close(head.score(queries).image_score, top)


def test_batched_is_a_fit_on_the_images_themselves():
    images = drawn_features(5, 0)
    fitted = load_head("subspace", rotations=0).fit(images)
    pool = load_head("subspace", batched=True).pool()
    for place in range(5):
        pool.add(images.at(place))
    found = torch.cat([part.image_score for part in pool.scores()])
    expected = fitted.score(images).image_score / fitted.memory_["1.residual"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(HeadError, match="is batched; call `score` without"):
        load_head("subspace", batched=True).fit(images)


def test_an_image_without_numbers_is_not_among_those_compared():
    images = drawn_features(5, 0)
    images.patches[1][2] = float("nan")
    pool = load_head("subspace", batched=True).pool()
    pool.add(images)
    scores = torch.cat([part.image_score for part in pool.scores()])
    assert scores.isnan().tolist() == [False, False, True, False, False]


def test_angles_depend_on_the_image_alone():
    one, other = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    views = RandomRotations(3, seed=0)
    assert views.angles(one) == views.angles(one) != views.angles(other)
    assert views.angles(one) != RandomRotations(3, seed=1).angles(one)
    assert all(0 <= angle <= 345 for angle in views.angles(one))
    assert len(list(views(one))) == 4


def test_the_foreground_of_a_square():
    """A square of other tokens on even ground is found, whatever the sign of its component."""
    for sign in (1, -1):
        tokens = torch.zeros(1, 12, 12, 3)
        tokens[:, 4:9, 4:9, 0] = sign * 30.0
        mask = foreground(tokens.flatten(1, 2), (12, 12)).unflatten(1, (12, 12))[0]
        expected = torch.zeros(12, 12, dtype=torch.bool)
        expected[3:10, 3:10] = True  # dilated by one patch
        assert torch.equal(mask, expected)


def test_the_scale_of_maps_is_that_of_normal_residuals():
    normal = drawn_features(3, 0)
    head = load_head("subspace", rotations=0).fit(normal)
    mean, basis = head.memory_["1.mean"], head.memory_["1.basis"]
    expected = 30 * residual(normal.patches[1], mean, basis).mean()
    assert head.map_range == (0, pytest.approx(expected.item(), rel=0.05))
    assert load_head("subspace", batched=True).map_range == (0, 30)


def test_two_draws_of_30_rotations_by_default():
    assert load_head("subspace").normal_views == RandomRotations(60, seed=42)
