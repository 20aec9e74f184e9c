"""An image encoder run by its own library: one grid, one embedding, and what it does not have."""

import pytest
import torch
from torch import nn

from vlad.backbones.backbone import Backbone
from vlad.backbones.generic import GenericEncoder, on_grid
from vlad.errors import BackboneError, HeadError
from vlad.heads import load_head
from vlad.scoring.panel import Panel
from vlad.types import BackboneInfo, Stream


class Stages(nn.Module):
    """Three stages with strides 4, 8 and 16 and channels 6, 8 and 10."""

    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Conv2d(before, after, stride, stride)
            for before, after, stride in ((3, 6, 4), (6, 8, 2), (8, 10, 2))
        )

    def forward(self, x):
        found = []
        for stage in self.stages:
            x = stage(x).relu()
            found.append(x)
        return found


def encoder(model):
    def run(pixels, blocks, image):
        found = model(pixels)
        return {n: found[n - 1] for n in blocks}, found[-1].mean(dim=(2, 3)) if image else None

    return GenericEncoder(run, patch_size=8)


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    info = BackboneInfo(
        "stages", 3, 10, 10, patch_size=8, image_size=64, has_text=False, has_cls=False,
        capabilities=frozenset(), widths=(6, 8, 10), step=16,
    )  # fmt: skip
    return Backbone(info, Stages(), encoder, None, None, (0.5,) * 3, (0.5,) * 3)


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_all_stages_come_on_one_grid(backbone, pixels):
    found = backbone.forward(pixels, taps=[(None, 1), (None, 2), (None, 3)])
    fine, own, coarse = backbone.model(pixels)
    assert found.grid == (8, 8)
    averaged = nn.functional.avg_pool2d(fine, 2)
    assert torch.allclose(found.patches[None, 1], averaged.flatten(2).mT, atol=1e-6)
    assert torch.equal(found.patches[None, 2], own.flatten(2).mT)
    # halfway between two coarse ones lie a quarter and three quarters of each
    row = found.patches[None, 3].unflatten(1, found.grid)[0, 0, :3]
    left, right = coarse[0, :, 0, 0], coarse[0, :, 0, 1]
    expected = torch.stack([left, 0.75 * left + 0.25 * right, 0.25 * left + 0.75 * right])
    assert torch.allclose(row, expected, atol=1e-6)
    assert torch.allclose(backbone.vision.embed_image(found.last), coarse.mean(dim=(2, 3)))


def test_a_map_that_is_on_the_grid_is_left_alone():
    x = torch.randn(1, 2, 4, 4)
    assert on_grid(x, (4, 4)) is x


@torch.no_grad()
def test_bfloat16_stays_near(backbone, pixels):
    exact = backbone.forward(pixels, taps=[(None, 3)]).patches[None, 3]
    try:
        backbone.to("cpu", torch.bfloat16)
        rounded = backbone.forward(pixels, taps=[(None, 3)]).patches[None, 3]
    finally:
        backbone.to("cpu")
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).norm() / exact.norm() < 0.02


@pytest.mark.parametrize(
    "options",
    [
        {"taps": [(Stream("vv"), 2)]},
        {"windows": [2]},
        {"prompts": {1: torch.zeros(2, 1, 10)}},
        {"activation": "gelu"},
    ],
    ids=str,
)
def test_what_it_does_not_have_is_refused(backbone, pixels, options):
    with pytest.raises(BackboneError, match="run by its own library"):
        backbone.forward(pixels, **options)


@pytest.mark.parametrize("name", ["memory", "patchcore", "simplenet", "dfr", "musc"])
def test_heads_on_patch_tokens_take_stages_of_different_width(backbone, drawn, name):
    panel = Panel(backbone, {name: load_head(name)}, image_size=64)
    if name != "musc":
        panel.fit(drawn[:2])
    pools = {}
    found = panel.score([panel.prepare(image) for image in drawn], pools=pools)
    scores = found.get(name) or next(pools[name].scores())
    assert scores.anomaly_map.shape[1:] == (64, 64)
    assert scores.image_score.isfinite().all()


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("winclip", {}, "compares images with text"),
        ("memory", {"layers": (4,)}, "blocks 1 to 3"),
    ],
)
def test_heads_that_need_more_are_refused(backbone, name, params, words):
    with pytest.raises((HeadError, BackboneError), match=words):
        Panel(backbone, {name: load_head(name, **params)})


def test_sizes_are_multiples_of_the_deepest_stride(backbone):
    with pytest.raises(BackboneError, match=r"72×72 pixels is not a multiple of 16"):
        Panel(backbone, {"memory": load_head("memory")}, image_size=72)
