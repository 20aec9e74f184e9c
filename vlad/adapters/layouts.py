"""The tensors that a head learns, and their names in the authors' released checkpoints.

In shapes, the image encoder has C channels and D joint dimensions, the text encoder T channels.
Sizes that a method leaves open are numbers in the adapter's params.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from vlad.adapters import shapes
from vlad.adapters.layout import Layout as Layout
from vlad.adapters.shapes import Shape
from vlad.errors import AdapterError
from vlad.system import plugins
from vlad.system.text import instead, shown
from vlad.types import BackboneInfo

# of CLIP's 77 tokens, the start, "damaged object ." and the end take 5
LONGEST_CONTEXT = 77 - 5
QUARTERS = (0.25, 0.5, 0.75, 1.0)  # of the depth
# blocks 3 to 10 of 12, and every second from 5 to 19 of 24
EIGHT = tuple((2.6 + i) / 12 for i in range(8))
DEEP = ("deep_blocks", "prompt_blocks")  # sizes of heads with tokens in blocks of the text encoder
_ADAPTERS = r"visual_encoder\.adapters\.(\d+)\.blocks\.0\."  # of SOWA
_GATE = r"decoder\.blocks\.(\d)\.attention(\d)\.attention"  # of MetaUAS
NORM = "(weight|bias|running_mean|running_var)"
LARGEST = 4096  # upper bound of any size in a file: no backbone comes near it


LAYOUTS = {
    "april_gan": Layout(
        shapes=shapes.april_gan,
        authors={r"fc\.(\d+)\.(weight|bias)": r"projections.\1.\2"},
        key="trainable_linearlayer",
    ),
    "clip_ad": Layout(
        shapes=shapes.april_gan,
        authors={r"fc\.(\d+)\.(weight|bias)": r"projections.\1.\2"},
        key="linear_layers",
        layers=QUARTERS,
    ),
    "anomalyclip": Layout(
        shapes=shapes.anomalyclip,
        sizes={
            "context": (r"context\.normal", 0),
            "deep_blocks": (r"deep\.\d+", None),
            "deep_tokens": (r"deep\.0", 0),
        },
        authors={
            r"ctx_pos": "context.normal",
            r"ctx_neg": "context.anomalous",
            r"compound_prompts_text\.(\d+)": r"deep.\1",
        },
        key="prompt_learner",
        lead={"context.normal": 2, "context.anomalous": 2},
        unused={
            r"(token_prefix|token_suffix)_(pos|neg)": "text",
            r"tokenized_prompts_(pos|neg)": None,
            r"compound_prompt_projections\.\d+\.weight": "text",
            r"compound_prompt_projections\.\d+\.bias": None,
        },
        inside_text=True,
        # their published figures use only the last block
        layers=(1.0,),
        defaults={"context": 12, "deep_blocks": 8, "deep_tokens": 4},
    ),
    "adaclip": Layout(
        shapes=shapes.adaclip,
        sizes={
            "prompt_blocks": (r"static\.text\.\d+", None),
            "prompt_tokens": (r"static\.text\.0", 0),
        },
        inside_text=True,
        defaults={"prompt_blocks": 4, "prompt_tokens": 5},
        authors={
            r"clip_model\.visual_prompter\.static_prompts\.(\d+)": r"static.image.\1",
            r"clip_model\.text_prompter\.static_prompts\.(\d+)": r"static.text.\1",
            r"clip_model\.dynamic_visual_prompt_generator\.head\.(\d+)\.(weight|bias)": (
                r"dynamic.image.\1.\2"
            ),
            r"clip_model\.dynamic_text_prompt_generator\.head\.(\d+)\.(weight|bias)": (
                r"dynamic.text.\1.\2"
            ),
            r"clip_model\.patch_token_layer\.head\.(\d+)\.(weight|bias)": r"projections.\1.\2",
            r"clip_model\.cls_token_layer\.head\.0\.(weight|bias)": r"image_projection.\1",
        },
    ),
    "adaptclip": Layout(
        shapes=shapes.adaptclip,
        sizes={"context": (r"context\.normal", 0), "decoder": (r"decoder\.0\.weight", 0)},
        authors={
            r"ctx_pos": "context.normal",
            r"ctx_neg": "context.anomalous",
            r"global_adapter\.fc\.0\.(weight)": r"image.down.\1",
            rf"global_adapter\.fc\.1\.{NORM}": r"image.norm.\1",
            r"global_adapter\.fc\.3\.(weight)": r"image.up.\1",
            r"local_adater\.fc\.0\.(weight)": r"patches.down.\1",
            rf"local_adater\.fc\.1\.{NORM}": r"patches.norm.\1",
            r"local_adater\.fc\.3\.(weight)": r"patches.up.\1",
            rf"sharebn\.(\d+)\.{NORM}": r"norms.\1.\2",
            rf"local_adapter\.0\.(\d)\.{NORM}": r"decoder.\1.\2",
            rf"global_adapter\.0\.(\d)\.{NORM}": r"perceptron.\1.\2",
        },
        parts={
            "textual_learner": r"(ctx|token).+",
            "visual_learner": r".+_(adater|adapter)\.fc\..+",
            "pq_learner": r"(sharebn|local_adapter|global_adapter)\.\d.+",
        },
        lead={"context.normal": 2, "context.anomalous": 2},
        unused={
            r"(token_prefix|token_suffix)_(pos|neg)": "text",
            r"tokenized_prompts_(pos|neg)": None,
            r".+\.num_batches_tracked": None,
            # one module, which their file repeats for each layer
            r"(local|global)_adapter\.[1-9]\d*\.\d\.\w+": None,
        },
        inside_text=True,
        layers=QUARTERS,
        defaults={"context": 12, "decoder": 128},
    ),
    "filo": Layout(
        shapes=shapes.filo,
        sizes={"context": (r"context\.normal", 0)},
        authors={
            r"normal_prompt_learner\.ctx": "context.normal",
            r"abnormal_prompt_learner\.ctx": "context.anomalous",
            r"normal_prompt_learner\.meta_net\.linear(\d)\.(weight|bias)": r"meta.normal.\1.\2",
            r"abnormal_prompt_learner\.meta_net\.linear(\d)\.(weight|bias)": (
                r"meta.anomalous.\1.\2"
            ),
            r"decoder_linear\.fc\.(\d)\.(weight|bias)": r"linear.\1.\2",
            r"decoder_cov\.fc_(\d\d)\.(\d)\.(weight|bias)": r"convolutions.\1.\2.\3",
            r"adapter\.fc\.(\d)\.weight": r"adapter.\1.weight",
        },
        key="filo",
        unused={r"(clip_model|text_encoder)\..*": None},  # their backbone's
        inside_text=True,
        layers=(0.5, 0.75, 1.0),
        defaults={"context": 12},
    ),
    "sowa": Layout(
        shapes=shapes.sowa,
        sizes={"context": (r"context\.normal", 0)},
        authors={
            r"prompt_learner\.ctx_pos": "context.normal",
            r"prompt_learner\.ctx_neg": "context.anomalous",
            rf"{_ADAPTERS}attn\.logit_scale": r"windows.\1.scale",
            rf"{_ADAPTERS}attn\.cpb_mlp\.(\d)\.(weight|bias)": r"windows.\1.position.\2.\3",
            rf"{_ADAPTERS}norm(1|2)\.(weight|bias)": r"windows.\1.norm_\2.\3",
            rf"{_ADAPTERS}mlp\.layers\.0\.(weight)": r"windows.\1.linear.\2",
            r"cross_fusion\.linear\.(weight|bias)": r"text.\1",
        },
        # what their training program saves: the whole model, with its backbone
        key="state_dict",
        prefix="net.",
        lead={"context.normal": 2, "context.anomalous": 2},
        unused={
            r"prompt_learner\.(token_prefix|token_suffix)_(pos|neg)": "text",
            r"prompt_learner\.tokenized_prompts_(pos|neg)": None,
            rf"{_ADAPTERS}attn\.(qkv|proj\.(weight|bias)|relative_\w+)": None,
            r"((prompt_learner|visual_encoder)\.)?clip_model\..+|visual_encoder\.proj": None,
            r"text_encoder\..+": None,
        },
        layers=QUARTERS,
        inside_text=True,
        defaults={"context": 12, "window": 12},
        constants={r"windows\.\d+\.scale": math.log(10)},
        image_size=336,
    ),
    "tipsomaly": Layout(
        shapes=shapes.tipsomaly,
        sizes={"context": (r"context\.normal", 0)},
        layers=(1.0,),
        inside_text=True,
        defaults={"context": 8},
    ),
    "hftt": Layout(
        shapes=shapes.hftt,
        sizes={"tasks": ("task", 0), "vectors": ("learned", 0)},
        layers=(1.0,),
        from_text=True,
        defaults={"vectors": 10},
    ),
    "metauas": Layout(
        shapes=shapes.metauas,
        sizes={"width": (r"blocks\.0\.conv_1\.weight", 0)},
        authors={
            r"alignment\.(\d)\.alignment_layer\.dimensionality_reduction\.(weight|bias)": (
                r"align.\1.\2"
            ),
            r"decoder\.blocks\.(\d)\.conv(\d)\.0\.weight": r"blocks.\1.conv_\2.weight",
            rf"decoder\.blocks\.(\d)\.conv(\d)\.1\.{NORM}": r"blocks.\1.norm_\2.\3",
            rf"{_GATE}\.cSE\.1\.(weight|bias)": r"blocks.\1.gate_\2.down.\3",
            rf"{_GATE}\.cSE\.3\.(weight|bias)": r"blocks.\1.gate_\2.up.\3",
            rf"{_GATE}\.sSE\.0\.(weight|bias)": r"blocks.\1.gate_\2.place.\3",
            r"mask_head\.(weight|bias)": r"mask.\1",
        },
        unused={r"encoder\..+": None, r".+\.num_batches_tracked": None},
        layers=(1.0,),
        defaults={"width": 256},
    ),
    # the whole model of its authors, of which the zero-shot form uses the extractor
    "inp_former": Layout(
        shapes=shapes.inp_former,
        sizes={"prototypes": ("tokens", 0)},
        authors={
            r"prototype_token": "tokens",
            r"aggregation\.0\.(norm1|norm2)\.(weight|bias)": r"extractor.\1.\2",
            r"aggregation\.0\.attn\.(q|kv|proj)\.(weight|bias)": r"extractor.attn.\1.\2",
            r"aggregation\.0\.mlp\.(fc1|fc2)\.(weight|bias)": r"extractor.mlp.\1.\2",
        },
        unused={r"(encoder|bottleneck|decoder)\..+": None},
        layers=EIGHT,
        defaults={"prototypes": 6},
    ),
    # the names are those of the authors' module; no released file could be had to compare with
    "anomalyov": Layout(
        shapes=shapes.anomalyov,
        sizes={
            "positions": (r"positions\.weight", 1),
            "embedding": (r"embedding\.normal", 0),
            "summary": (r"summary\.0\.weight", 0),
            "attention": (r"query\.weight", 0),
            "hidden": (r"score\.0\.weight", 0),
        },
        authors={
            r"positive_embedding": "embedding.normal",
            r"negative_embedding": "embedding.anomalous",
            r"pooling_layer\.0\.(weight|bias)": r"positions.\1",
            r"class_predictor\.(\d)\.(weight|bias)": r"summary.\1.\2",
            r"siglip_adaptors\.(\d)\.(weight|bias)": r"tokens.\1.\2",
            r"prompt_adaptors\.(\d)\.(weight|bias)": r"sides.\1.\2",
            r"q_former\.(query|key)_proj\.(weight|bias)": r"\1.\2",
            r"final_predictor\.(\d)\.(weight|bias)": r"score.\1.\2",
        },
        lead={"embedding.normal": 1, "embedding.anomalous": 1},
        layers=(7 / 27, 13 / 27, 19 / 27, 25 / 27),
        defaults={
            **{"positions": 27 * 27, "embedding": 512, "summary": 512},
            **{"attention": 512, "hidden": 512},
        },
    ),
    # no authors' files; five blocks give the 15 and 20 thousand numbers they state for CLIP and
    # DINOv2
    "uniadet": Layout(shapes=shapes.uniadet, layers=(0.5, 0.625, 0.75, 0.875, 1.0)),
}


def layout_names() -> list[str]:
    """Names of the heads with adapters, ours and those of installed packages."""
    return plugins.names("vlad.layouts", LAYOUTS)


def find_layout(head: str) -> Layout | None:
    """The layout of a head, ours or registered under "vlad.layouts"; None if it has none."""
    return LAYOUTS.get(head) or plugins.load("vlad.layouts", head, {})


def layout_of(head: str) -> Layout:
    """The layout of a head.

    Raises:
        AdapterError: the head has no adapters.
    """
    if (found := find_layout(head)) is None:
        raise AdapterError(f"Head {head!r} uses no adapter{instead(head, layout_names())}")
    return found


def default_params(
    head: str, backbone: BackboneInfo, sizes: Mapping[str, int] | None = None
) -> dict:
    """The params chosen by the method's authors, cut to the blocks that the backbone has.

    Args:
        sizes: values in place of theirs.
    """
    layout = layout_of(head)
    chosen = {**layout.defaults, **(sizes or {})}
    fitting = {size: min(n, _highest(size, backbone)) for size, n in chosen.items()}
    layers = layout.layers or backbone.compare or QUARTERS
    return {"layers": list(backbone.layers(layers)), **fitting}


def _highest(size: str, backbone: BackboneInfo) -> int:
    """The highest value of a size that fits a backbone."""
    limits = {
        "context": LONGEST_CONTEXT,
        "deep_blocks": backbone.text_depth - 1,  # none before the first
        "prompt_blocks": min(backbone.depth, backbone.text_depth),
    }
    return limits.get(size, LARGEST)


def tensor_shapes(head: str, backbone: BackboneInfo, params: Mapping) -> dict[str, Shape]:
    """Name -> shape of every tensor that a head learns on a backbone.

    Raises:
        AdapterError: the head has no adapters, needs a text encoder that this backbone does not
            have, or params name blocks or sizes that do not exist.
    """
    layout = layout_of(head)
    layers = params["layers"]
    if len(set(layers)) < len(layers) or max(layers) > backbone.depth:
        raise AdapterError(
            f"The adapter uses block{'s' * (len(layers) > 1)} "
            f"{shown(', '.join(map(str, layers)))}, but {backbone.name} "
            f"has blocks 1 to {backbone.depth}, each usable once; choose another backbone or other "
            "`layers`."
        )
    deep = not layout.defaults.keys().isdisjoint(DEEP)
    if layout.inside_text and (backbone.text_width is None or (deep and not backbone.text_depth)):
        raise AdapterError(
            f"Head {head} puts learned tokens into the text encoder, but {backbone.name} has none "
            "that accepts them; choose a CLIP backbone."
        )
    for size in layout.defaults:
        highest = _highest(size, backbone)
        if not 0 < params[size] <= highest:
            raise AdapterError(
                f"The {size} of the adapter is {params[size]}, but {backbone.name} allows 1 to "
                f"{highest}; choose the `backbone` it was trained on."
            )
    return layout.shapes(backbone, params)


def constant_of(head: str, name: str) -> float | None:
    """The value of a tensor's entries before training, if its layout gives one."""
    given = layout_of(head).constants.items()
    return next((value for pattern, value in given if re.fullmatch(pattern, name)), None)


def ours(head: str, name: str) -> str | None:
    """Our name for a tensor in the authors' file; None if we have none."""
    for pattern, template in layout_of(head).authors.items():
        if re.fullmatch(pattern, name):
            return re.sub(pattern, template, name)
    return None


def theirs(head: str, name: str) -> str:
    """The authors' name for one of our tensors.

    Raises:
        AdapterError: the head learns no tensor of that name.
    """
    for pattern, template in layout_of(head).authors.items():
        # the rule reversed: the template's fields fill the pattern's groups
        if found := re.fullmatch(re.sub(r"\\\\\d", r"(\\w+)", re.escape(template)), name):
            places = iter(found.groups())
            return "".join(
                next(places) if part.startswith("(") else part.replace("\\", "")
                for part in re.split(r"(\([^)]*\))", pattern)
            )
    raise AdapterError(f"Tensor {name} is not learned by {head}; choose another adapter.")
