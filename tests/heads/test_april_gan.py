"""APRIL-GAN gives the numbers of its authors' program, from words alone and with references."""

import numpy as np
import pytest

from vlad.heads.april_gan import AprilGAN
from vlad.scoring.panel import Panel

LAYERS = (6, 12, 18, 24)


def rename(name):
    """Names of the authors' linear layers -> ours."""
    found = name.removeprefix("linear.fc.")
    return f"projections.{found}" if found != name else None


@pytest.fixture(scope="module")
def backbone(parity_backbone):
    return parity_backbone("tinyl14_336")


@pytest.fixture(scope="module", params=["zero_shot", "few_shot"])
def setting(request, parity, parity_adapter):
    """(reference outputs, adapter)."""
    case = parity.case(f"aprilgan_tinyl14_336_{request.param}")
    return case, parity_adapter("april_gan", LAYERS, rename, case)


def test_maps_and_scores(backbone, setting, parity_scores, assert_parity):
    case, adapter = setting
    assert_parity(parity_scores(backbone, lambda: AprilGAN(adapter), case), case)


def test_text_vectors(backbone, setting):
    from vlad.maths.logits import side_vectors

    case, adapter = setting
    panel = Panel(backbone, {"head": AprilGAN(adapter)}, image_size=238)
    for category in ("bottle", "metal_nut"):
        found = side_vectors(panel.text("head", category)).T
        np.testing.assert_allclose(found, case[f"text_features.{category}"], atol=1e-5)


def test_batches_do_not_change_scores(backbone, setting, parity_scores):
    case, adapter = setting
    one = parity_scores(backbone, lambda: AprilGAN(adapter), case, batch_size=1)
    four = parity_scores(backbone, lambda: AprilGAN(adapter), case)
    for mine, theirs in zip(one, four, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-5)


def test_without_rescaling_each_image_is_judged_by_itself(
    backbone, parity, parity_adapter, parity_image
):
    case = parity.case("aprilgan_tinyl14_336_few_shot")
    adapter = parity_adapter("april_gan", LAYERS, rename, case)
    panel = Panel(backbone, {"head": AprilGAN(adapter, rescale=False)}, image_size=238)
    panel.fit([parity_image("bottle/train/good/001.png")])
    prepared = [panel.prepare(parity_image(str(path))) for path in case["image_path"][:2]]
    both = panel.score(prepared, "bottle")["head"]
    alone = panel.score(prepared[:1], "bottle")["head"]
    np.testing.assert_allclose(both.image_score[:1], alone.image_score, atol=1e-5)
    # the maps are those of the authors either way
    np.testing.assert_allclose(both.anomaly_map, case["anomaly_map"][:2], atol=1e-4)
