"""The head linear: what it computes, and that it asks for no words."""

import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from vlad.backbones import load_backbone
from vlad.errors import AdapterError
from vlad.heads.linear import Linear
from vlad.scoring.panel import Panel


@pytest.fixture(scope="module")
def panel(small_backbone, small_adapter):
    return Panel(small_backbone, {"linear": Linear(small_adapter("linear"))})


def test_against_a_plain_computation(panel, drawn):
    prepared = [panel.prepare(drawn[0])]
    (features,) = panel.extractor.extract(prepared, [panel.specs["linear"]])
    t = panel.heads["linear"].adapter_.tensors
    maps = []
    for i, layer in enumerate((1, 2, 3, 4)):
        x = features.patches[layer][0]
        x = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        x = x @ t[f"projections.{i}.weight"].T + t[f"projections.{i}.bias"]
        sides = [F.cosine_similarity(x, t[s][None]) for s in ("normal", "anomalous")]
        grid = ((sides[1] - sides[0]) / 0.07).reshape(1, 1, 4, 4)
        maps.append(F.interpolate(grid, (64, 64), mode="bilinear", align_corners=False).sigmoid())
    found = panel.score(prepared)["linear"]
    blurred = gaussian_filter(torch.stack(maps).mean(dim=0)[0, 0].numpy(), 4)
    torch.testing.assert_close(found.anomaly_map[0], torch.from_numpy(blurred), atol=1e-5, rtol=0)
    top = found.anomaly_map.flatten().sort(descending=True).values[:40].mean()  # 1 % of 64²
    torch.testing.assert_close(found.image_score[0], top)


def test_the_label_is_learned_by_the_most_anomalous_patches(panel, drawn):
    (features,) = panel.extractor.extract([panel.prepare(drawn[0])], [panel.specs["linear"]])
    logits = panel.heads["linear"].logits(features)
    assert logits.image.item() == pytest.approx(logits.patches.mean(1).max().item())  # of 16


def test_backbones_without_text(dinov2_folder, drawn):
    from vlad.adapters import Adapter
    from vlad.adapters.layouts import default_params
    from vlad.scoring.extractor import Extractor
    from vlad.training.learner import initial_tensors

    backbone = load_backbone(str(dinov2_folder), device="cpu")
    params = default_params("linear", backbone.info)
    tensors = initial_tensors("linear", Extractor(backbone), params, 0)
    made = Adapter("mine", "linear", "dinov2", "nothing", params, tensors)
    panel = Panel(backbone, {"linear": Linear(made)})
    scores = panel.score([panel.prepare(image) for image in drawn[:2]])["linear"]
    assert scores.anomaly_map.shape == (2, 56, 56)
    with pytest.raises(AdapterError, match="Unknown adapter"):
        Panel(backbone, {"linear": Linear("nowhere")})
