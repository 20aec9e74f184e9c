"""What heads ask of the backbone that their authors use, ViT-L/14 at 336, is what these read."""

from dataclasses import replace

import pytest
import torch

from vlad.adapters import Adapter
from vlad.adapters.layouts import default_params, tensor_shapes
from vlad.heads import load_head
from vlad.types import BackboneInfo, FeatureSpec, Stream

LARGE = BackboneInfo(
    name="ViT-L-14-336",
    depth=24,
    width=1024,
    embed_dim=768,
    patch_size=14,
    image_size=336,
    has_text=True,
    text_width=768,
    text_depth=12,
    activation="quick_gelu",
)
QUARTERS = (6, 12, 18, 24)
STAGES = FeatureSpec(
    layers=QUARTERS,
    patch_output="ln_post_proj",
    stream=Stream("vv", start="zero", restart=(7, 13, 19)),
    further=(FeatureSpec(cls=QUARTERS, patch_output="ln_post_proj", stream=Stream("next")),),
    activation="gelu",
)


def untrained(name):
    params = default_params(name, LARGE)
    tensors = {n: torch.zeros(s) for n, s in tensor_shapes(name, LARGE, params).items()}
    return load_head(name, adapter=Adapter(name, name, "any", "nothing", params, tensors))


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (load_head("memory"), FeatureSpec(layers=(6, 12, 18), image=False)),
        (load_head("self_reference"), FeatureSpec(layers=(6, 12, 18), image=False)),
        (load_head("labelled"), FeatureSpec(layers=(6, 12, 18), image=False)),
        (load_head("patchcore"), FeatureSpec(layers=(6, 12, 18), image=False)),
        (
            load_head("anomalydino"),
            FeatureSpec(layers=(24,), patch_output="ln_post", image=False),
        ),
        # 23/40 to 29/40 of the depth, each once
        (load_head("subspace"), FeatureSpec(layers=((14, 15, 16, 17),), image=False)),
        (load_head("mvg"), FeatureSpec(layers=(8, 16, 24), image=False)),
        (load_head("padim"), FeatureSpec(layers=(6, 12, 18), image=False)),
        (
            load_head("winclip"),
            FeatureSpec(normal_layers=(24,), patch_output="ln_post", windows=(2, 3)),
        ),
        (
            load_head("musc"),
            FeatureSpec(layers=QUARTERS, activation="gelu", pos_embed="bicubic"),
        ),
        (
            load_head("musc", v2=True),
            FeatureSpec(layers=(8, 16, 24), patch_output="ln_post", image=False),
        ),
        (load_head("clip_ad"), STAGES),
        (
            untrained("clip_ad"),
            replace(
                STAGES,
                further=(*STAGES.further, FeatureSpec(layers=QUARTERS, stream=Stream("next"))),
            ),
        ),
        (
            load_head("anovl"),
            FeatureSpec(
                layers=(24,),
                patch_output="ln_post_proj",
                stream=Stream("vv"),
                activation="gelu",
                resize="pil_bilinear",
                views=True,
            ),
        ),
        (load_head("laft"), FeatureSpec(layers=(24,), patch_output="ln_post_proj")),
        (
            untrained("anomalyov"),
            # 7, 13, 19 and 25 of SigLIP's 27, here of 24, and the last but one
            FeatureSpec(layers=(6, 12, 17, 22, 23), image=False, crops=True),
        ),
        (load_head("flashback"), FeatureSpec()),
        (untrained("hftt"), FeatureSpec(layers=(24,), patch_output="ln_post_proj")),
        (
            load_head("memory", layers=(24,), patch_output="ln_post_proj"),
            FeatureSpec(layers=(24,), patch_output="ln_post_proj", image=False),
        ),
        (load_head("statistics"), FeatureSpec(statistics=True)),
        (load_head("vlm", model="any"), FeatureSpec(image=False, pixels=1024)),
        (load_head("visual_words"), FeatureSpec(layers=(6, 12, 18), image=False)),
        (
            load_head("subspace", mask="attention"),
            FeatureSpec(
                layers=((14, 15, 16, 17),),
                image=False,
                further=(
                    FeatureSpec(
                        layers=(7,), stream=Stream("attention", first_block=7), image=False
                    ),
                ),
            ),
        ),
        (load_head("simplenet"), FeatureSpec(layers=(6, 12, 18), image=False)),
        (load_head("dfr"), FeatureSpec(layers=(6, 12, 18), image=False)),
        (load_head("onenip"), FeatureSpec(layers=(6, 12, 18), image=False)),
        (
            load_head("inp_former"),
            FeatureSpec(
                layers=(5, 7, 9, 11, 13, 15, 17, 19),
                image=False,
                resize="pil_bilinear",
                pos_embed="bicubic_offset",
            ),
        ),
        (
            untrained("inp_former"),
            FeatureSpec(
                layers=(5, 7, 9, 11, 13, 15, 17, 19),
                image=False,
                resize="pil_bilinear",
                pos_embed="bicubic_offset",
            ),
        ),
        (load_head("tipsomaly"), FeatureSpec(layers=(24,), patch_output="ln_post_proj")),
        (untrained("tipsomaly"), FeatureSpec(layers=(24,), patch_output="ln_post_proj")),
        (
            untrained("uniadet"),
            FeatureSpec(
                layers=(12, 15, 18, 21, 24),
                cls=(12, 15, 18, 21, 24),
                patch_output="ln_post_proj",
                image=False,
            ),
        ),
        (untrained("april_gan"), FeatureSpec(layers=QUARTERS, activation="gelu")),
        (
            untrained("sowa"),
            FeatureSpec(layers=QUARTERS, weights=QUARTERS, activation="quick_gelu"),
        ),
        (
            untrained("adaclip"),
            FeatureSpec(layers=QUARTERS, activation="gelu", pos_embed="bicubic"),
        ),
        (
            untrained("adaptclip"),
            FeatureSpec(
                layers=(24,),
                normal_layers=(6, 12, 18),
                patch_output="ln_post_proj",
                stream=Stream("vv", first_block=6),
                image_ln_post=False,
                activation="quick_gelu",
                pos_embed="bilinear",
            ),
        ),
        (
            untrained("filo"),
            FeatureSpec(
                layers=(24,),
                stream=Stream("vv", first_block=7),
                further=(FeatureSpec(layers=(12, 18, 24), stream=Stream("next"), image=False),),
                activation="gelu",
                pos_embed="bicubic",
            ),
        ),
        (
            untrained("anomalyclip"),
            FeatureSpec(
                layers=(24,),
                patch_output="ln_post_proj",
                stream=Stream("vv", first_block=6),
                image_ln_post=False,
                activation="quick_gelu",
                pos_embed="bilinear",
            ),
        ),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_features(head, expected):
    assert replace(head.spec(LARGE), text=None, prompts=None) == expected


def test_where_the_learned_tokens_of_adaclip_stand():
    spec, plain = untrained("adaclip").spec(LARGE), torch.zeros(1, 768)
    image, text = (
        {block: tuple(x.shape) for block, x in tokens(plain).items()}
        for tokens in (spec.prompts, spec.text.deep)
    )
    assert image == dict.fromkeys((1, 2, 3, 4), (1, 5, 1024))
    assert text == dict.fromkeys((2, 3, 4), (1, 5, 768))


def test_where_the_learned_tokens_of_anomalyclip_stand():
    text = untrained("anomalyclip").spec(LARGE).text
    assert [len(x) for x in text.context] == [12, 12]
    assert {block: len(x) for block, x in text.deep.items()} == dict.fromkeys(range(2, 10), 4)


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        ("april_gan", "gelu"),
        ("clip_ad", "gelu"),
        ("adaclip", "gelu"),
        ("anomalyclip", "quick_gelu"),
        ("adaptclip", "quick_gelu"),
        ("sowa", "quick_gelu"),
    ],
)
def test_activation_of_the_text_encoder(name, activation):
    assert untrained(name).spec(LARGE).text.activation == activation
