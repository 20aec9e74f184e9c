"""The built-in backbone: features that pass its blocks unchanged, and words behind them."""

import pytest
import torch
import torch.nn.functional as F
from case import Case
from conformance import CHECKS

from vlad.backbones import load_backbone
from vlad.backbones.tiny import WEIGHTS
from vlad.backbones.tiny.model import SHARE, STAGES
from vlad.backbones.windows import window_patches


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("vlad-tiny", device="cpu")


@pytest.mark.parametrize("guarantee", CHECKS)
def test_guarantee(guarantee):
    case = Case(load_backbone("vlad-tiny", device="cpu"), sizes=[(256, 256), (64, 96)])
    CHECKS[guarantee](case)


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_the_file_is_small_and_finite():
    assert WEIGHTS.stat().st_size < 12e6
    state = load_backbone("vlad-tiny", device="cpu").model.state_dict()
    assert all(x.isfinite().all() for x in state.values())


@torch.no_grad()
def test_features_are_those_of_the_network_in_every_block(backbone, pixels):
    model, depth = backbone.model, backbone.info.depth
    found = backbone.forward(pixels, taps=[(None, n) for n in range(1, depth + 1)])
    stages = model.cnn(pixels, STAGES)
    for n in range(1, depth + 1):
        at = 0
        for stage in STAGES:
            own = stages[stage]
            tokens = found.patches[None, n][..., at : at + own.shape[1]]
            at += own.shape[1]
            torch.testing.assert_close(tokens.norm(dim=-1), torch.ones(2, 16))
            if own.shape[-1] == 4:  # the stage that is on the grid as it is
                torch.testing.assert_close(tokens, F.normalize(own, dim=1).flatten(2).mT)
        assert at == model.features
        # words are too small to change a cosine between tokens
        assert found.patches[None, n][..., at:].norm(dim=-1).max() < 0.5


@torch.no_grad()
def test_the_pyramid_is_the_network_from_its_stem_on(backbone, pixels):
    network = backbone.model.cnn
    x = F.relu6(network.stem(pixels))
    expected = [x]
    for number, block in enumerate(network.blocks, 1):
        x = block(x)
        if number in (2, 3, 5, 7):
            expected.append(x)
    for found, own in zip(backbone.maps(pixels), expected, strict=True):
        torch.testing.assert_close(found, own, atol=1e-4, rtol=1e-4)
    assert backbone.info.pyramid == (32, 24, 40, 112, 320)


@torch.no_grad()
def test_heads_that_compare_tokens_get_one_layer(backbone):
    assert backbone.info.compare == (1,)


@torch.no_grad()
def test_a_window_is_the_blocks_on_these_tokens_alone(backbone, pixels):
    vision = backbone.vision
    found = backbone.forward(pixels, windows=[2], image=False).windows[2]
    tokens = backbone.model.patch_embed(pixels).flatten(2).mT
    for place, patches in enumerate(window_patches((4, 4), 2)):
        x = torch.cat([vision.cls.expand(2, 1, -1), tokens[:, patches]], dim=1)
        for block in vision.blocks:
            x = block(x, None)
        expected = vision.embed_image(x)
        torch.testing.assert_close(found[:, place], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_words_are_read_from_their_own_channels(backbone, pixels):
    model = backbone.model
    tokens = backbone.forward(pixels, taps=[(None, 3)]).patches[None, 3]
    changed = torch.cat([tokens[..., : model.features] * 2, tokens[..., model.features :]], dim=-1)
    torch.testing.assert_close(backbone.vision.joint(changed), backbone.vision.joint(tokens))
    words = model.ln_post(tokens[..., model.features :] / SHARE) @ model.proj
    torch.testing.assert_close(backbone.vision.joint(tokens), words, atol=1e-4, rtol=1e-4)


def test_state_words_mean_something(backbone):
    sentences = [
        "a photo of a flawless {}.",
        "a photo of the perfect {}.",
        "a photo of a damaged {}.",
        "a photo of the {} with flaw.",
    ]
    bolt, zebra = (
        F.normalize(backbone.encode_text([s.format(n) for s in sentences]), dim=-1)
        for n in ("bolt", "zebra")
    )
    for a, b in ((bolt, zebra), (zebra, zebra)):
        likeness = a @ b.T
        same = likeness[:2, :2].mean() + likeness[2:, 2:].mean()
        assert same > 2 * likeness[:2, 2:].mean() + 0.1
