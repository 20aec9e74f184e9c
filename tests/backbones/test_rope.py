"""Registers and rotary positions, in every kind of pass, against slow plain versions."""

from dataclasses import replace

import pytest
import torch

from vlad.backbones.block import turn_halves, turn_neighbours
from vlad.backbones.windows import window_patches
from vlad.types import Stream


def angles_of(grid):
    """(h·w, 2, 8): sine and cosine of angles that tell all places apart."""
    y, x = torch.meshgrid(*map(torch.arange, grid), indexing="ij")
    angle = torch.stack([0.3 * y, 0.7 * x, 0.1 * y, 0.2 * x], dim=-1).flatten(0, 1)
    angle = torch.cat([angle, angle], dim=-1)
    return torch.stack([angle.sin(), angle.cos()], dim=1)


@pytest.fixture
def vision(small_backbone):
    """Blocks of a small CLIP with two registers and rotary positions."""
    plain = small_backbone.vision
    registers = torch.randn(2, len(plain.cls), generator=torch.Generator().manual_seed(3))
    size = len(plain.cls) // plain.blocks[0].heads

    def rope(grid):
        return angles_of(grid).repeat(1, 1, size // 8)

    blocks = [replace(block, turn=turn_halves) for block in plain.blocks]
    return replace(plain, blocks=blocks, registers=registers, rope=rope)


@pytest.fixture
def pixels():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def slow(vision, tokens, angles, prompts=()):
    """All blocks on (N, C) tokens of one image; tokens without a place are not turned."""
    x = vision.ln_pre(tokens[None])
    for block in vision.blocks:
        q, k, v = (
            t[0].unflatten(-1, (block.heads, -1)).transpose(0, 1) for t in block.qkv(block.ln_1(x))
        )
        out = torch.zeros_like(q)
        for head in range(block.heads):
            turned = []
            for t in (q[head], k[head]):
                half = t.shape[-1] // 2
                rows = []
                for row, place in zip(t, angles, strict=True):
                    if place is None:
                        rows.append(row)
                        continue
                    sine, cosine = place
                    across = torch.cat([-row[half:], row[:half]])
                    rows.append(row * cosine + across * sine)
                turned.append(torch.stack(rows))
            logits = turned[0] @ turned[1].T / t.shape[-1] ** 0.5
            out[head] = logits.softmax(dim=-1) @ v[head]
        x = block.finish(x, out.transpose(0, 1).flatten(1)[None], None)
    return x[0]


def tokens_of(vision, pixels):
    """(B, N, C) tokens before the blocks, and the place of each."""
    x = vision.patch_embed(pixels).flatten(2).transpose(1, 2) + vision.pos[1:]
    first = torch.cat([(vision.cls + vision.pos[0])[None], vision.registers])
    return torch.cat([first.expand(len(x), -1, -1), x], dim=1)


@torch.no_grad()
def test_every_token(vision, pixels):
    depth = len(vision.blocks)
    found = vision(pixels, taps=[(None, depth)])
    places = [None] * 3 + list(vision.rope((4, 4)))
    for image, tokens in enumerate(tokens_of(vision, pixels)):
        expected = slow(vision, tokens, places)
        torch.testing.assert_close(found.last[image], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(
            found.patches[None, depth][image], expected[3:], atol=1e-5, rtol=0
        )
    alone = vision(pixels)
    assert alone.last.shape[1] == 1
    torch.testing.assert_close(alone.last[:, 0], found.last[:, 0], atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("image", [False, True])
def test_windows(vision, pixels, image):
    found = vision(pixels, windows=[2, 3], image=image)
    angles, tokens = vision.rope((4, 4)), tokens_of(vision, pixels)
    for side in (2, 3):
        for number, patches in enumerate(window_patches((4, 4), side)):
            kept = torch.cat([tokens[0, :3], tokens[0, 3 + patches]])
            last = slow(vision, kept, [None] * 3 + list(angles[patches]))
            expected = vision.embed_image(last[None])[0]
            torch.testing.assert_close(found.windows[side][0, number], expected, atol=1e-4, rtol=0)
    if image:
        torch.testing.assert_close(found.last[:, 0], vision(pixels).last[:, 0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_learned_tokens_have_no_place(vision, pixels):
    learned = torch.randn(2, 2, len(vision.cls), generator=torch.Generator().manual_seed(5))
    found = vision(pixels, taps=[(None, 1)], image=False, prompts={1: learned})
    first = replace(vision, blocks=vision.blocks[:1])
    tokens = vision.ln_pre(tokens_of(vision, pixels))
    joined = torch.cat([tokens[0], learned[0]])
    places = [None] * 3 + list(vision.rope((4, 4))) + [None] * 2
    expected = slow(replace(first, ln_pre=lambda x: x), joined, places)
    torch.testing.assert_close(found.patches[None, 1][0], expected[3:-2], atol=1e-5, rtol=0)


@torch.no_grad()
def test_streams_of_values_are_not_turned(vision, pixels):
    stream = Stream("vv", first_block=2)
    still = replace(vision, blocks=[replace(b, turn=None) for b in vision.blocks], rope=None)
    one, other = (
        v(pixels, taps=[(stream, 2)], image=False).patches[stream, 2] for v in (vision, still)
    )
    # the first block turns, so the values of the second differ
    assert not torch.allclose(one, other)
    key = Stream("kk", first_block=1)
    one, other = (v(pixels, taps=[(key, 1)], image=False).patches[key, 1] for v in (vision, still))
    assert not torch.allclose(one, other)
    value = Stream("vv", first_block=1)
    one, other = (
        v(pixels, taps=[(value, 1)], image=False).patches[value, 1] for v in (vision, still)
    )
    torch.testing.assert_close(one, other)


def test_the_two_ways_to_pair_channels():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 1, 4)
    quarter = torch.stack([torch.ones(4), torch.zeros(4)])[None]  # a turn by 90 degrees
    assert turn_halves(x, quarter).flatten().tolist() == [-3, -4, 1, 2]
    assert turn_neighbours(x, quarter).flatten().tolist() == [-2, 1, -4, 3]
