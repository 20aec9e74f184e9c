"""The one forward pass: taps, streams and windows against slow plain versions."""

import pytest
import torch
import torch.nn.functional as F

from vlad.backbones.block import gelu, quick_gelu
from vlad.backbones.windows import window_patches
from vlad.errors import BackboneError
from vlad.types import Stream


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_every_block_and_the_embedding_equal_open_clip(small_clip, small_backbone, pixels):
    expected = small_clip.visual.forward_intermediates(pixels, output_fmt="NLC")
    found = small_backbone.vision(pixels, taps=[(None, n) for n in range(1, 5)])
    for n, tokens in enumerate(expected["image_intermediates"], start=1):
        torch.testing.assert_close(found.patches[None, n], tokens, atol=1e-5, rtol=0)
    embedding = small_backbone.vision.embed_image(found.last)
    torch.testing.assert_close(embedding, small_clip.encode_image(pixels), atol=1e-5, rtol=0)


def test_reference_taps(parity, parity_backbone):
    case = parity.case("winclip_anomalib_tinyb16_240_k0")
    backbone = parity_backbone("tinyb16_240")
    found = backbone.vision(
        torch.from_numpy(case["pixel_values"]), taps=[(None, 12)], windows=(2, 3)
    )
    patches = backbone.vision.ln_post(found.patches[None, 12])
    embedding = backbone.vision.embed_image(found.last)
    for mine, name in (
        (patches, "patch_embed"),
        (embedding, "image_embed"),
        (found.windows[2], "win2_embed"),
        (found.windows[3], "win3_embed"),
    ):
        expected = torch.from_numpy(case[name][:1])
        torch.testing.assert_close(mine, expected, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_window_is_the_backbone_on_these_tokens_alone(small_clip, small_backbone, pixels, side):
    visual = small_clip.visual
    tokens = visual.conv1(pixels).flatten(2).transpose(1, 2)
    cls = visual.class_embedding.expand(2, 1, -1)
    tokens = torch.cat([cls, tokens], dim=1) + visual.positional_embedding
    found = small_backbone.vision(pixels, windows=[side], image=False).windows[side]
    assert found.shape[1] == (5 - side) ** 2
    for place, patches in enumerate(window_patches((4, 4), side)):
        kept = torch.cat([tokens[:, :1], tokens[:, 1 + patches]], dim=1)
        slow = visual.ln_post(visual.transformer(visual.ln_pre(kept))[:, 0]) @ visual.proj
        torch.testing.assert_close(found[:, place], slow, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["vv", "qq", "kk"])
def test_what_leaves_the_last_block_does_not_change_what_is_asked_of_it(
    small_backbone, pixels, kind
):
    stream = Stream(kind=kind, first_block=2)
    whole = small_backbone.vision(pixels, taps=[(None, 4), (stream, 4)])
    alone = small_backbone.vision(pixels, taps=[(stream, 4)])
    assert alone.last.shape[1] == 1
    torch.testing.assert_close(alone.last[:, 0], whole.last[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(alone.patches[stream, 4], whole.patches[stream, 4])


@pytest.mark.parametrize(
    ("activation", "plain"),
    [(gelu, F.gelu), (quick_gelu, lambda x: x * torch.sigmoid(1.702 * x))],
)
def test_activations_and_their_gradients(activation, plain):
    x = torch.randn(50, dtype=torch.float64, requires_grad=True)
    expected = plain(x.detach())
    torch.testing.assert_close(activation(x), expected)
    assert torch.autograd.gradcheck(activation, x)
    torch.testing.assert_close(activation(x.detach().clone()), expected)


def test_window_order_is_row_major():
    assert window_patches((2, 3), 2).tolist() == [[0, 1, 3, 4], [1, 2, 4, 5]]


@torch.no_grad()
@pytest.mark.parametrize("kind", ["vv", "qq", "kk"])
@pytest.mark.parametrize(("start", "restart"), [("input", ()), ("zero", (3,))])
def test_streams_against_a_plain_version(small_clip, small_backbone, pixels, kind, start, restart):
    stream = Stream(kind=kind, first_block=2, start=start, restart=restart)
    found = small_backbone.vision(pixels, taps=[(stream, 3), (stream, 4), (None, 4)])

    visual = small_clip.visual
    x = visual._embeds(pixels)
    state = None
    for number, block in enumerate(visual.transformer.resblocks, start=1):
        if number == 2 or number in restart:
            state = x if start == "input" else torch.zeros_like(x)
        if number >= 2:
            qkv = F.linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias)
            q, k, v = (t.unflatten(-1, (2, 64)).transpose(1, 2) for t in qkv.chunk(3, -1))
            a = {"qq": q, "kk": k, "vv": v}[kind]
            weights = (a @ a.transpose(-1, -2) / 8).softmax(dim=-1)
            state = state + block.attn.out_proj((weights @ v).transpose(1, 2).flatten(2))
        x = block(x)
        if number >= 3:
            tokens = found.patches[stream, number]
            torch.testing.assert_close(tokens, state[:, 1:], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.patches[None, 4], x[:, 1:], atol=1e-5, rtol=0)


@torch.no_grad()
@torch.no_grad()
@pytest.mark.parametrize("block", [2, 4])
def test_attention_of_the_class_token_is_that_of_torch(small_clip, small_backbone, pixels, block):
    before = small_backbone.vision(pixels, taps=[(None, block - 1)])
    x = torch.cat([before_class(small_backbone, pixels, block), before.patches[None, block - 1]], 1)
    module = small_clip.visual.transformer.resblocks[block - 1]
    tokens = module.ln_1(x)
    _, expected = module.attn(tokens, tokens, tokens, average_attn_weights=True)
    stream = Stream("attention", first_block=block)
    found = small_backbone.vision(pixels, taps=[(stream, block)], image=block == 4)
    torch.testing.assert_close(found.patches[stream, block][..., 0], expected[:, 0, 1:])


def before_class(backbone, pixels, block):
    """(B, 1, C) class token that a block gets."""
    return backbone.vision(pixels, cls=[(None, block - 1)]).cls[None, block - 1][:, None]


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("bicubic_antialias", {"mode": "bicubic", "antialias": True}),
        ("bicubic", {"mode": "bicubic"}),
        ("bilinear", {"mode": "bilinear"}),
    ],
)
@pytest.mark.parametrize("size", [(96, 96), (48, 80)])
def test_another_input_size_interpolates_the_positions(
    small_clip, small_backbone, mode, options, size
):
    pixels = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(2))
    grid = (size[0] // 16, size[1] // 16)
    visual = small_clip.visual
    table = visual.positional_embedding[1:].T.reshape(1, -1, 4, 4)
    table = F.interpolate(table, size=grid, align_corners=False, **options)[0].flatten(1).T
    positions = torch.cat([visual.positional_embedding[:1], table])
    tokens = visual.conv1(pixels).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(1, 1, -1), tokens], dim=1) + positions
    slow = visual.transformer(visual.ln_pre(x))
    found = small_backbone.vision(pixels, taps=[(None, 4)], pos_embed=mode)
    assert found.grid == grid
    torch.testing.assert_close(found.patches[None, 4], slow[:, 1:], atol=1e-5, rtol=0)


def test_the_activation_can_be_overridden(small_clip, small_backbone, pixels):
    plain = small_backbone.vision(pixels, taps=[(None, 4)])
    same = small_backbone.vision(pixels, taps=[(None, 4)], activation="gelu")
    other = small_backbone.vision(pixels, taps=[(None, 4)], activation="quick_gelu")
    assert torch.equal(plain.patches[None, 4], same.patches[None, 4])
    assert not torch.allclose(plain.patches[None, 4], other.patches[None, 4], atol=1e-4)


def test_prompt_tokens_stand_behind_the_others(small_clip, small_backbone, pixels):
    torch.manual_seed(3)
    width = small_backbone.info.width
    first, third = torch.randn(len(pixels), 2, width), torch.randn(len(pixels), 2, width)
    found = small_backbone.vision(pixels, taps=[(None, 4)], prompts={1: first, 3: third})
    visual = small_clip.visual
    with torch.no_grad():
        x = torch.cat([visual._embeds(pixels), first], dim=1)
        for number, block in enumerate(visual.transformer.resblocks, start=1):
            if number == 3:
                x[:, -2:] = third
            x = block(x)
    torch.testing.assert_close(found.patches[None, 4], x[:, 1:-2], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.last, x[:, :-2], atol=1e-5, rtol=0)


def test_without_the_image_the_pass_stops_at_the_last_tap(small_backbone, pixels):
    found = small_backbone.vision(pixels, taps=[(None, 2)], image=False)
    assert found.last is None
    assert list(found.patches) == [(None, 2)]


def test_what_does_not_fit_is_said(small_backbone, pixels):
    with pytest.raises(BackboneError, match="Block 5"):
        small_backbone.vision(pixels, taps=[(None, 5)])
    with pytest.raises(BackboneError, match="60×60"):
        small_backbone.vision(pixels[..., :60, :60])
    with pytest.raises(BackboneError, match="5×5 patches"):
        small_backbone.vision(pixels, windows=[5])
