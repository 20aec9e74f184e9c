"""A block's short ways against the plain ones."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from vlad.backbones import load_backbone
from vlad.backbones.block import attention, plus
from vlad.backbones.windows import pass_windows


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
@pytest.mark.parametrize("folder", ["clip", "dinov2"])
def test_the_first_token_alone_is_that_of_the_whole_block(small_backbone, dinov2_folder, folder):
    backbone = (
        small_backbone if folder == "clip" else load_backbone(str(dinov2_folder), device="cpu")
    )
    x = noise(3, 7, backbone.info.width)
    for block in backbone.vision.blocks:
        alone = block.first(x, None)
        assert alone.shape == (3, 1, backbone.info.width)
        torch.testing.assert_close(alone, block(x, None)[:, :1], atol=1e-5, rtol=0)
        slow = replace(block, projections=None).first(x, None)
        torch.testing.assert_close(alone, slow, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_bias_of_keys_or_values_is_not_lost(small_clip):
    from vlad.backbones.modules import block_of

    module = small_clip.visual.transformer.resblocks[0]
    bias = module.attn.in_proj_bias
    kept = bias.clone()
    bias.copy_(noise(len(bias)))
    try:
        block, x = block_of(module), noise(2, 9, 128)
        torch.testing.assert_close(block.first(x, None), module(x)[:, :1], atol=1e-5, rtol=0)
    finally:
        bias.copy_(kept)


@pytest.mark.parametrize("tokens", [5, 226, 300])
def test_attention_in_bfloat16_is_that_of_torch(tokens):
    q, k, v = (noise(2, 3, tokens, 16).roll(i).bfloat16() for i in range(3))
    exact = F.scaled_dot_product_attention(q.float(), k.float(), v.float())
    torch.testing.assert_close(attention(q, k, v).float(), exact, atol=2e-2, rtol=0)


def test_sums_take_the_memory_of_the_branch_unless_a_gradient_needs_it():
    x, branch = noise(2, 3), noise(2, 3).roll(1)
    expected = branch + x
    learned = branch.clone().requires_grad_()
    found = plus(learned, x)
    found.sum().backward()
    assert torch.equal(found, expected) and torch.equal(learned.grad, torch.ones(2, 3))
    assert torch.equal(learned, branch)
    assert plus(branch, x) is branch and torch.equal(branch, expected)
    assert plus(noise(2, 3).bfloat16(), x).dtype == torch.float32


@torch.no_grad()
def test_neither_batches_of_windows_nor_company_change_them(small_backbone, monkeypatch):
    vision, pixels = small_backbone.vision, noise(2, 3, 64, 64)
    expected = vision(pixels, windows=(1, 3), taps=[(None, 4)])
    together = vision(pixels, windows=(1, 3))
    monkeypatch.setattr("vlad.backbones.windows.TOKENS", 30)
    apart = vision(pixels, windows=(1, 3))
    for found in (together, apart):
        for side in (1, 3):
            torch.testing.assert_close(
                found.windows[side], expected.windows[side], atol=1e-5, rtol=0
            )
        embedding = vision.embed_image(found.last)
        torch.testing.assert_close(embedding, vision.embed_image(expected.last), atol=1e-5, rtol=0)
    tokens, grid = vision._embed(pixels, "bicubic")
    windows, last = pass_windows(vision, tokens, grid, (2,), None)
    assert set(windows) == {2} and last is None
