"""What a head asks for is checked against the description of a backbone, without its weights."""

from dataclasses import replace
from typing import get_args

import pytest

from vlad.backbones.capabilities import check_spec
from vlad.errors import BackboneError
from vlad.types import BackboneInfo, Capability, FeatureSpec, Stream

INFO = BackboneInfo("some/model", 12, 768, 512, patch_size=16, image_size=224, has_text=True)
MAPS = replace(INFO, capabilities=frozenset({"pyramid"}))
STAGES = replace(INFO, widths=(384,) * 11 + (768,))
NEEDS = {
    "windows": FeatureSpec(windows=(2, 3)),
    "streams": FeatureSpec(layers=(12,), stream=Stream("vv")),
    "image tokens": FeatureSpec(prompts=lambda plain: {}),
    "joint": FeatureSpec(layers=(12,), patch_output="ln_post_proj"),
    "weights": FeatureSpec(weights=(12,)),
    "pyramid": FeatureSpec(pyramid=True),
}


@pytest.mark.parametrize("capability", NEEDS)
def test_each_capability_is_needed_by_what_uses_it_alone(capability):
    assert NEEDS.keys() == set(get_args(Capability))
    check_spec(replace(INFO, capabilities=frozenset({capability})), NEEDS[capability], 224)
    less = replace(INFO, capabilities=frozenset(NEEDS) - {capability})
    with pytest.raises(BackboneError, match=r"^Head winclip needs .*some/model does not have"):
        check_spec(less, NEEDS[capability], 224, "winclip")


def test_attention_needs_a_class_token():
    spec = FeatureSpec(further=(FeatureSpec(layers=(7,), stream=Stream("attention")),))
    check_spec(INFO, spec, 224)
    with pytest.raises(BackboneError, match="Head subspace needs the attention of a class token"):
        check_spec(replace(INFO, has_cls=False), spec, 224, "subspace")
    with pytest.raises(BackboneError, match="needs attention streams"):
        check_spec(replace(INFO, capabilities=frozenset()), spec, 224, "subspace")


def test_an_image_embedding_without_its_norm_counts_as_a_stream():
    spec = FeatureSpec(image_ln_post=False)
    with pytest.raises(BackboneError, match="attention streams"):
        check_spec(replace(INFO, capabilities=frozenset()), spec, 224)


@pytest.mark.parametrize(
    ("info", "spec", "side", "words"),
    [
        (INFO, FeatureSpec(layers=(1,)), 225, "225×225 pixels is not a multiple of 16"),
        (INFO, FeatureSpec(layers=((3, 13),)), 224, "Block 13 does not exist"),
        (INFO, FeatureSpec(normal_layers=(13,)), 224, "Block 13 does not exist"),
        (
            STAGES,
            FeatureSpec(layers=((11, 12),)),
            224,
            "blocks 11, 12, which differ in width on so",
        ),
        (INFO, FeatureSpec(weights=(13,)), 224, "Block 13 does not exist"),
        (MAPS, FeatureSpec(pyramid=True), 240, "240×240 pixels is not a multiple of 32"),
        (INFO, FeatureSpec(windows=(15,)), 224, "15×15 patches does not fit a grid of 14×14"),
        (replace(INFO, fixed_size=True), FeatureSpec(), 240, "224×224 pixels only"),
    ],
)
def test_what_does_not_fit_is_one_sentence(info, spec, side, words):
    with pytest.raises(BackboneError, match=words):
        check_spec(info, spec, side)


def test_blocks_of_one_width_are_averaged():
    check_spec(STAGES, FeatureSpec(layers=((10, 11), 12)), 224)


def test_layers_are_blocks_fractions_or_means():
    assert INFO.layers((4, 0.5, 1.0, 6)) == (4, 6, 12)
    assert INFO.layers([[0.25, 0.5], [3, 3], 0.01]) == ((3, 6), 3, 1)
    shallow = replace(INFO, depth=2, widths=(8, 16))
    assert shallow.layers((0.25, 0.5, 0.75)) == (1, 2)
    assert [shallow.channels(layer) for layer in (1, 2, (1, 2))] == [8, 16, 8]
