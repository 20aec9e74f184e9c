"""AdaCLIP gives the numbers of its authors' program."""

import numpy as np
import pytest
import torch

from vlad.heads.adaclip import AdaCLIP, fuse
from vlad.maths.logits import side_vectors
from vlad.scoring.panel import Panel

LAYERS = (6, 12, 18, 24)
NAMES = {
    "text_prompter.static_prompts": "static.text",
    "visual_prompter.static_prompts": "static.image",
    "patch_token_layer.head": "projections",
    "cls_token_layer.head.0": "image_projection",
    "dynamic_visual_prompt_generator.head": "dynamic.image",
    "dynamic_text_prompt_generator.head": "dynamic.text",
}


def rename(name):
    """Names of the authors' checkpoint -> ours."""
    found = name.removeprefix("learn.")
    for theirs, ours in NAMES.items():
        if found != name and found.startswith(theirs):
            return ours + found.removeprefix(theirs)
    return None


@pytest.fixture(scope="module")
def backbone(parity_backbone):
    return parity_backbone("tinyl14_336")


@pytest.fixture(scope="module")
def case(parity):
    return parity.case("adaclip_tinyl14_336")


@pytest.fixture(scope="module")
def adapter(case, parity_adapter):
    return parity_adapter("adaclip", LAYERS, rename, case)


def test_maps_and_scores(backbone, case, adapter, parity_scores, assert_parity):
    assert_parity(parity_scores(backbone, lambda: AdaCLIP(adapter), case), case)


def test_features_on_the_way(backbone, case, adapter, parity_image):
    panel = Panel(backbone, {"head": AdaCLIP(adapter)}, image_size=238)
    prepared = panel.prepare(parity_image(str(case["image_path"][0])))
    (features,) = panel.extractor.extract([prepared], list(panel.specs.values()))
    np.testing.assert_allclose(features.plain, case["dynamic_source_cls"][:1], atol=1e-4)
    np.testing.assert_allclose(features.image, case["image_features"][:1], atol=1e-4)
    for layer, patches in features.patches.items():
        np.testing.assert_allclose(patches, case[f"patch_tokens.{layer}"][:, 1:], atol=2e-4)
    text = panel._read("head", "bottle", features)
    np.testing.assert_allclose(side_vectors(text)[0].T, case["text_features"][0], atol=1e-5)


def test_fusion_with_the_clusters_of_the_authors(backbone, case, adapter):
    tokens = [torch.from_numpy(case[f"proj_patch.{layer}"][0]) for layer in LAYERS]
    axis = torch.from_numpy(case["text_features"][0])
    logit = torch.stack([100 * x @ (axis[:, 1] - axis[:, 0]) for x in tokens]).mean(dim=0)
    labels = torch.from_numpy(case["hsf_labels"][0])
    found = fuse(tokens, logit, 20, labels=labels)
    np.testing.assert_allclose(found, case["hsf_feature"][0], atol=1e-5)


def test_each_image_has_prompts_of_its_own(backbone, case, adapter, parity_scores):
    together = parity_scores(backbone, lambda: AdaCLIP(adapter), case)
    alone = parity_scores(backbone, lambda: AdaCLIP(adapter), case, batch_size=1)
    for mine, theirs in zip(alone, together, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_small_grids_have_fewer_clusters():
    torch.manual_seed(0)
    tokens = [torch.nn.functional.normalize(torch.randn(9, 8), dim=-1) for _ in range(2)]
    found = fuse(tokens, torch.randn(9), 20)
    torch.testing.assert_close(found.norm(), torch.tensor(1.0))
