"""UniADet: what it computes, which tokens it compares, and that it asks for no words."""

import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from vlad.adapters import Adapter
from vlad.adapters.layouts import default_params, tensor_shapes
from vlad.backbones import load_backbone
from vlad.errors import AdapterError
from vlad.heads.uniadet import UniADet
from vlad.scoring.extractor import Extractor
from vlad.scoring.panel import Panel
from vlad.training.learner import initial_tensors
from vlad.types import BackboneInfo


@pytest.fixture
def make(small_backbone, small_adapter):
    return lambda **options: Panel(
        small_backbone, {"uniadet": UniADet(small_adapter("uniadet"), **options)}
    )


def score(panel, image):
    return panel.score([panel.prepare(image)])["uniadet"]


def extracted(panel, image):
    return panel.extractor.extract([panel.prepare(image)], [panel.specs["uniadet"]])[0]


def probability(tokens, sides):
    """Softmax of cosine / 0.07 with two vectors, the anomalous one, averaged over blocks."""
    each = []
    for x, (normal, anomalous) in zip(tokens, sides, strict=True):
        cosines = [F.cosine_similarity(x[0], side, dim=-1) for side in (normal, anomalous)]
        each.append((torch.stack(cosines) / 0.07).softmax(dim=0)[1])
    return torch.stack(each).mean(dim=0)


def plain(panel, features):
    """The image score and the map on the grid, of one image without references."""
    t = panel.heads["uniadet"].adapter_.tensors
    return [
        probability(tokens.values(), [t[f"{task}.{i}"] for i in range(3)])
        for task, tokens in (("image", features.cls), ("patches", features.patches))
    ]


def enlarged(grid_map):
    full = F.interpolate(grid_map.reshape(1, 1, 4, 4), (64, 64), mode="bilinear")
    return torch.from_numpy(gaussian_filter(full[0, 0].numpy(), 4))


def test_without_references_against_a_plain_computation(make, drawn):
    panel = make()
    features = extracted(panel, drawn[0])
    assert list(features.cls) == list(features.patches) == [2, 3, 4]
    image, patches = plain(panel, features)
    found = score(panel, drawn[0])
    torch.testing.assert_close(found.image_score[0], image)
    torch.testing.assert_close(found.anomaly_map[0], enlarged(patches), atol=1e-5, rtol=0)


def test_the_maximum_of_the_map_may_enter_the_image_score(make, drawn):
    found, alone = score(make(maximum=True), drawn[0]), score(make(), drawn[0])
    torch.testing.assert_close(found.anomaly_map, alone.anomaly_map)
    expected = (alone.image_score + alone.anomaly_map.amax()) / 2
    torch.testing.assert_close(found.image_score, expected)


def test_with_references_against_a_plain_computation(make, drawn):
    panel = make().fit(drawn[1:3])
    features, known = extracted(panel, drawn[0]), [extracted(panel, x) for x in drawn[1:3]]
    distances = []
    for layer, x in features.patches.items():
        rows = torch.cat([other.patches[layer][0] for other in known])
        cosine = F.normalize(x[0], dim=-1) @ F.normalize(rows, dim=-1).T
        distances.append(1 - cosine.amax(dim=1))
    image, patches = plain(panel, features)
    expected = enlarged((patches + torch.stack(distances).mean(dim=0)) / 2)
    found = score(panel, drawn[0])
    torch.testing.assert_close(found.anomaly_map[0], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.image_score[0], (image + found.anomaly_map.amax()) / 2)


@pytest.mark.parametrize(("width", "count"), [(768, 15360), (1024, 20480)])
def test_as_many_numbers_as_the_authors_state(width, count):
    """On ViT-L/14 of CLIP, 0.015 million; on that of DINOv2, 0.020 million."""
    info = BackboneInfo("large", 24, 1024, width, 14, 336, has_text=False)
    params = default_params("uniadet", info)
    assert params["layers"] == [12, 15, 18, 21, 24]
    shapes = tensor_shapes("uniadet", info, params).values()
    assert sum(rows * columns for rows, columns in shapes) == count


@pytest.mark.parametrize(
    ("facts", "output", "widths"),
    [
        ({}, "ln_post_proj", [12, 12]),
        ({"compare": (1,)}, "raw", [16, 16]),
        ({"widths": (8, 16)}, "raw", [8, 16]),
        ({"capabilities": frozenset()}, "raw", [16, 16]),
    ],
)
def test_which_tokens_are_compared(facts, output, widths):
    info = BackboneInfo("small", 2, 16, 12, 14, 56, has_text=False, **facts)
    params = {"layers": [1, 2]}
    shapes = tensor_shapes("uniadet", info, params)
    assert [shapes[f"patches.{i}"][1] for i in range(2)] == widths
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    made = Adapter("mine", "uniadet", "small", "nothing", params, tensors)
    assert UniADet(made).spec(info).patch_output == output


def test_backbones_without_text(dinov2_folder, drawn):
    backbone = load_backbone(str(dinov2_folder), device="cpu")
    params = default_params("uniadet", backbone.info)
    tensors = initial_tensors("uniadet", Extractor(backbone), params, 0)
    made = Adapter("mine", "uniadet", "dinov2", "nothing", params, tensors)
    panel = Panel(backbone, {"uniadet": UniADet(made)})
    scores = panel.score([panel.prepare(image) for image in drawn[:2]])["uniadet"]
    assert scores.anomaly_map.shape == (2, 56, 56)
    with pytest.raises(AdapterError, match="Unknown adapter"):
        Panel(backbone, {"uniadet": UniADet("nowhere")})
