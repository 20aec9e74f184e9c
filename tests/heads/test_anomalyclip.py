"""AnomalyCLIP gives the numbers of its authors' program."""

import numpy as np
import pytest
import torch

from vlad.errors import HeadError, VladError
from vlad.heads.anomalyclip import AnomalyCLIP
from vlad.scoring.panel import Panel


def rename(name):
    """Names of the authors' prompt learner -> ours."""
    name = name.removeprefix("prompt_learner.")
    deep = name.removeprefix("compound_prompts_text.")
    known = {"ctx_pos": "context.normal", "ctx_neg": "context.anomalous"}
    return f"deep.{deep}" if deep != name else known.get(name)


@pytest.fixture(scope="module")
def backbone(parity_backbone):
    return parity_backbone("tinyl14_336")


@pytest.fixture(
    scope="module",
    params=[("", (24,)), ("_taps4", (6, 12, 18, 24))],
    ids=["last block", "four blocks"],
)
def setting(request, parity, parity_adapter):
    """(reference outputs, adapter) with the last block, and with four."""
    suffix, layers = request.param
    case = parity.case(f"anomalyclip_tinyl14_336{suffix}")
    for side in ("pos", "neg"):
        case[f"prompt_learner.ctx_{side}"] = case[f"prompt_learner.ctx_{side}"][0, 0]
    return case, parity_adapter("anomalyclip", layers, rename, case)


def test_maps_and_scores(backbone, setting, parity_scores, assert_parity):
    case, adapter = setting
    assert_parity(parity_scores(backbone, lambda: AnomalyCLIP(adapter), case), case)


def test_features_on_the_way(backbone, setting, parity_image):
    case, adapter = setting
    panel = Panel(backbone, {"head": AnomalyCLIP(adapter)}, image_size=238)
    prepared = panel.prepare(parity_image(str(case["image_path"][0])))
    (features,) = panel.extractor.extract([prepared], list(panel.specs.values()))
    text = panel.text("head", "bottle")
    found = torch.cat([text.normal, text.anomalous])
    np.testing.assert_allclose(found, case["text_features_raw"], atol=1e-4)
    np.testing.assert_allclose(features.image, case["image_features_raw"][:1], atol=1e-4)
    for layer, patches in features.patches.items():
        expected = case[f"patch_features_raw.{layer}"][:, 1:]
        np.testing.assert_allclose(patches, expected, atol=1e-4)


def test_the_category_does_not_matter(backbone, setting):
    _, adapter = setting
    panel = Panel(backbone, {"head": AnomalyCLIP(adapter)}, image_size=238)
    one, other = panel.text("head", "bottle"), panel.text("head", "metal nut")
    torch.testing.assert_close(one.anomalous, other.anomalous)
    assert (one.anomalous - one.normal).abs().max() > 1e-3


def test_it_learns_nothing_from_normal_images(backbone, setting, parity_image):
    _, adapter = setting
    panel = Panel(backbone, {"head": AnomalyCLIP(adapter)}, image_size=238)
    with pytest.raises(HeadError, match="learns nothing"):
        panel.fit([parity_image("bottle/train/good/000.png")], ["head"])


def test_without_an_adapter_it_says_what_is_missing(backbone):
    with pytest.raises(VladError, match="adapter"):
        Panel(backbone, {"head": AnomalyCLIP()})
