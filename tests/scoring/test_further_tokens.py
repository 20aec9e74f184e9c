"""Class tokens and tokens of several streams come from one pass, as in the authors' programs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vlad.backbones.generic import GenericEncoder
from vlad.images.views import altered
from vlad.scoring.extractor import Extractor
from vlad.scoring.featurecache import CachedExtractor
from vlad.types import Features, FeatureSpec, Stream

NEXT = Stream("next")


def extract(backbone, image, spec, size=None, extractor=None):
    extractor = extractor or Extractor(backbone, size)
    images = image if isinstance(image, list) else [image]
    (found,) = extractor.extract([extractor.prepare(one, [spec]) for one in images], [spec])
    return found


def test_the_surgery_of_clip_ad(parity, parity_backbone, parity_image):
    case = parity.case("clipad_tinyb16_240_sdp_mean")
    stages = Stream("vv", start="zero", restart=(4, 7, 10))
    blocks = (3, 6, 9, 12)
    spec = FeatureSpec(
        layers=blocks,
        patch_output="ln_post_proj",
        stream=stages,
        further=(
            FeatureSpec(layers=blocks, stream=NEXT, cls=blocks),
            FeatureSpec(stream=NEXT, patch_output="ln_post_proj", cls=blocks),
        ),
    )
    image = parity_image(str(case["image_path"][0]))
    found = extract(parity_backbone("tinyb16_240"), image, spec, 240)
    ordinary, projected = found.further
    for block in blocks:
        close = {"atol": 2e-5, "rtol": 0}
        np.testing.assert_allclose(ordinary.patches[block], case[f"ori.{block}"][:, 1:], **close)
        np.testing.assert_allclose(ordinary.cls[block], case[f"ori.{block}"][:, 0], **close)
        surgery = case[f"surgery.{block}"]
        np.testing.assert_allclose(found.patches[block], surgery[:, 1:], **close)
        np.testing.assert_allclose(projected.cls[block], surgery[:, 0], **close)


def plain_blocks(backbone, image, size):
    """The output of each block and its attention branch, computed block by block."""
    vision = backbone.vision
    pixels = Extractor(backbone, size).prepare(image, [FeatureSpec()])
    x = torch.from_numpy(next(iter(pixels.values())))[None]
    tokens, _ = vision._embed(x, "bicubic_antialias")
    x, outputs, attended = vision.ln_pre(tokens), [], []
    for block in vision.blocks:
        q, k, v = block.qkv(block.ln_1(x))
        attended.append(block.attend(x, block.mix(q, k, v)))
        x = block(x, None)
        outputs.append(x)
    return outputs, attended


@pytest.mark.parametrize("image_too", [True, False])
def test_the_next_block_is_added(small_backbone, drawn, image_too):
    outputs, attended = plain_blocks(small_backbone, drawn[0], 64)
    for block, expected in [(1, attended[1]), (3, attended[3]), (4, outputs[3])]:
        spec = FeatureSpec(layers=(block,), stream=NEXT, cls=(block,), image=image_too)
        found = extract(small_backbone, drawn[0], spec)
        torch.testing.assert_close(found.patches[block], expected[:, 1:], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.cls[block], expected[:, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("blocks", [(2,), (4,), (1, 4)])
def test_class_tokens(small_backbone, drawn, blocks):
    outputs, _ = plain_blocks(small_backbone, drawn[0], 64)
    found = extract(small_backbone, drawn[0], FeatureSpec(cls=blocks))
    assert not found.patches
    for block in blocks:
        expected = outputs[block - 1][:, 0]
        torch.testing.assert_close(found.cls[block], expected, atol=1e-5, rtol=1e-5)


def test_an_encoder_without_class_token_gives_the_mean(small_backbone):
    maps = {n: torch.randn(2, 8, 4 * n, 4 * n) for n in (1, 2)}
    generic = GenericEncoder(lambda pixels, blocks, image: ({n: maps[n] for n in blocks}, None), 16)
    native = replace(small_backbone.vision, cls=None, pos=small_backbone.vision.pos[1:])
    pixels, places = torch.randn(2, 3, 64, 64), [(None, 1), (None, 2)]
    for vision in (generic, native):
        taps = vision(pixels, taps=places, cls=places, image=False)
        for place in places:
            torch.testing.assert_close(taps.cls[place], taps.patches[place].mean(dim=1))
    last = native(pixels, cls=[(None, 4)]).cls[None, 4]
    torch.testing.assert_close(last, native(pixels, taps=[(None, 4)]).patches[None, 4].mean(dim=1))


SPEC = FeatureSpec(
    layers=(2,),
    patch_output="ln_post_proj",
    cls=(2,),
    further=(FeatureSpec(layers=(1, 3), stream=Stream("vv", first_block=2), cls=(3,)),),
)


def tensors(features):
    own = [*features.patches.values(), *features.cls.values(), features.image]
    return [*(x for x in own if x is not None), *(y for f in features.further for y in tensors(f))]


def assert_same(found, expected):
    for mine, theirs in zip(tensors(found), tensors(expected), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_batches_are_cut_and_joined_with_all_tokens(small_backbone, drawn):
    both = extract(small_backbone, drawn[:2], SPEC)
    assert len(tensors(both)) == 6
    assert_same(Features.cat([both.at(0), both.at(1)]), both)
    assert_same(both.at(1), extract(small_backbone, drawn[1], SPEC))


def test_stored_features_are_those_of_a_pass(small_backbone, drawn, tmp_path):
    fresh = extract(small_backbone, drawn[0], SPEC)
    cached = CachedExtractor(small_backbone, None, tmp_path)
    for _ in range(2):
        assert_same(extract(small_backbone, drawn[0], SPEC, extractor=cached), fresh)
    other = replace(SPEC, further=(replace(SPEC.further[0], stream=NEXT),))
    moved = extract(small_backbone, drawn[0], other, extractor=cached)
    assert not torch.allclose(moved.further[0].patches[3], fresh.further[0].patches[3])


def test_views_are_passes_of_their_own_and_are_stored(small_backbone, drawn, tmp_path):
    spec = FeatureSpec(layers=(2,), views=True)
    fresh = extract(small_backbone, drawn[:2], spec)
    (pixels,) = Extractor(small_backbone).prepare(drawn[1], [spec]).values()
    views = torch.cat(list(altered(torch.from_numpy(pixels)[None])))
    each = small_backbone.vision(views).last
    expected = small_backbone.vision.embed_image(each)
    torch.testing.assert_close(fresh.views[1], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fresh.views[:, 0], fresh.image)
    torch.testing.assert_close(Features.cat([fresh.at(0), fresh.at(1)]).views, fresh.views)
    cached = CachedExtractor(small_backbone, None, tmp_path)
    extract(small_backbone, drawn[0], replace(spec, views=False), extractor=cached)
    for _ in range(2):
        found = extract(small_backbone, drawn[:2], spec, extractor=cached)
        torch.testing.assert_close(found.views, fresh.views, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stored", [False, True])
def test_attention_maps_of_the_backbone(small_backbone, drawn, tmp_path, stored):
    extractor = CachedExtractor(small_backbone, None, tmp_path) if stored else None
    spec = FeatureSpec(layers=(2,), weights=(2, 4))
    vision = small_backbone.vision
    for _ in range(2):  # the second time from the cache
        found = extract(small_backbone, drawn[:2], spec, extractor=extractor)
        x = found.patches[2]
        for block in (2, 4):
            part = vision.blocks[block - 1]
            zero = torch.zeros_like(x)
            value = part.qkv(x)[2] - part.qkv(zero)[2]  # without its bias
            weights = {n: found.weights[f"{n}.{block}.weight"] for n in ("value", "out")}
            torch.testing.assert_close(x @ weights["value"].T, value, atol=1e-5, rtol=1e-5)
            mixed = x @ weights["out"].T + found.weights[f"out.{block}.bias"]
            torch.testing.assert_close(mixed, part.out(x), atol=1e-5, rtol=1e-5)
        joint = x @ found.weights["proj.weight"].T + found.weights["proj.bias"]
        torch.testing.assert_close(joint, vision.proj(x), atol=1e-5, rtol=1e-5)
    assert found.at(1).weights.keys() == found.weights.keys()
    assert Features.cat([found.at(0), found.at(1)]).weights.keys() == found.weights.keys()
    assert {x.dtype for x in found.to(torch.float64).weights.values()} == {torch.float64}
    assert extract(small_backbone, drawn[:1], FeatureSpec(layers=(2,))).weights == {}
