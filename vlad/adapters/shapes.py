"""The shapes of the tensors that each head learns on a backbone.

The image encoder has C channels and D joint dimensions, the text encoder T channels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from vlad.errors import AdapterError
from vlad.types import BackboneInfo

Shape = tuple[int, ...]


def _linear(name: str, outputs: int, inputs: int) -> dict[str, Shape]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _text_width(backbone: BackboneInfo) -> int:
    assert backbone.text_width is not None  # `tensor_shapes` checks it
    return backbone.text_width


def april_gan(backbone: BackboneInfo, params: Mapping) -> dict[str, Shape]:
    found: dict[str, Shape] = {}
    for i, layer in enumerate(params["layers"]):
        found |= _linear(f"projections.{i}", backbone.embed_dim, backbone.channels(layer))
    return found


def anomalyclip(backbone: BackboneInfo, params: Mapping) -> dict[str, Shape]:
    width = _text_width(backbone)
    sides = {f"context.{side}": (params["context"], width) for side in ("normal", "anomalous")}
    deep = (params["deep_tokens"], width)
    return sides | {f"deep.{i}": deep for i in range(params["deep_blocks"])}


def tipsomaly(backbone: BackboneInfo, params: Mapping) -> dict[str, Shape]:
    shape = (params["context"], _text_width(backbone))
    return {f"context.{side}": shape for side in ("normal", "anomalous")}


def adaclip(backbone: BackboneInfo, params: Mapping) -> dict[str, Shape]:
    found: dict[str, Shape] = {}
    for side, width in (("image", backbone.width), ("text", _text_width(backbone))):
        for i in range(params["prompt_blocks"]):
            found[f"static.{side}.{i}"] = (params["prompt_tokens"], width)
        for i in range(params["prompt_tokens"]):
            found |= _linear(f"dynamic.{side}.{i}", width, backbone.embed_dim)
    for i, layer in enumerate(params["layers"]):
        found |= _linear(f"projections.{i}", backbone.embed_dim, backbone.channels(layer))
    return found | _linear("image_projection", backbone.embed_dim, backbone.embed_dim)


def _norm(name: str, width: int) -> dict[str, Shape]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (width,) for part in parts}


def adaptclip(backbone: BackboneInfo, params: Mapping) -> dict[str, Shape]:
    joint, wide = backbone.embed_dim, params["decoder"]
    narrow, half = joint // 4, params["decoder"] // 2
    found: dict[str, Shape] = {
        f"context.{side}": (params["context"], _text_width(backbone))
        for side in ("normal", "anomalous")
    }
    for name in ("image", "patches"):
        found |= {f"{name}.down.weight": (narrow, joint), f"{name}.up.weight": (joint, narrow)}
        found |= _norm(f"{name}.norm", narrow)
    for i in range(len(params["layers"])):
        found |= _norm(f"norms.{i}", joint)
    for i, (width, before) in {0: (wide, joint), 4: (half, wide)}.items():
        found[f"decoder.{i}.weight"] = (width, before, 3, 3)
        found |= _norm(f"decoder.{i + 1}", width)
        found |= {f"decoder.{i + 3}.weight": (width, width, 2, 2)}
        found |= {f"decoder.{i + 3}.bias": (width,)}
    found |= {"decoder.8.weight": (2, half, 1, 1), "decoder.8.bias": (2,)}
    for i, (width, before) in {0: (wide, joint), 3: (half, wide)}.items():
        found[f"perceptron.{i}.weight"] = (width, before)
        found |= _norm(f"perceptron.{i + 1}", width)
    return found | {"perceptron.6.weight": (2, half)}


def compares_joint(backbone: BackboneInfo) -> bool:
    """True if UniADet compares tokens in the space of the image embedding, not raw ones.

    Blocks that differ in width cannot be projected, and a backbone that names layers to compare
    means its raw tokens.
    """
    return "joint" in backbone.capabilities and not (backbone.widths or backbone.compare)


def uniadet(backbone: BackboneInfo, params: Mapping) -> dict[str, Shape]:
    found: dict[str, Shape] = {}
    for i, layer in enumerate(params["layers"]):
        joint = compares_joint(backbone)
        width = backbone.embed_dim if joint else backbone.channels(layer)
        found |= {f"{task}.{i}": (2, width) for task in ("image", "patches")}
    return found


def hftt(backbone: BackboneInfo, params: Mapping) -> dict[str, Shape]:
    counts = {"task": params.get("tasks", 1), "learned": params["vectors"]}
    return {name: (count, backbone.embed_dim) for name, count in counts.items()}


# height and width of the convolutions whose sum takes neighbours of many shapes in (MMCI)
MMCI = {"11": (1, 1), "33": (3, 3), "55": (5, 5), "77": (7, 7), "15": (1, 5), "51": (5, 1)}


def filo(backbone: BackboneInfo, params: Mapping) -> dict[str, Shape]:
    joint, words = backbone.embed_dim, _text_width(backbone)
    found: dict[str, Shape] = {}
    for side in ("normal", "anomalous"):
        found[f"context.{side}"] = (params["context"], words)
        found |= _linear(f"meta.{side}.1", max(1, joint // 16), joint)
        found |= _linear(f"meta.{side}.2", words, max(1, joint // 16))
    count = len(params["layers"])
    for i in range(1 + count):
        found |= _linear(f"linear.{i}", joint, backbone.width)
    for i in range(count):
        for name, kernel in MMCI.items():
            found[f"convolutions.{name}.{i}.weight"] = (joint, backbone.width, *kernel)
            found[f"convolutions.{name}.{i}.bias"] = (joint,)
    half = max(1, joint // 2)
    return found | {"adapter.0.weight": (half, joint), "adapter.2.weight": (joint, half)}


HEADS_OF_WINDOWS = 8  # attention heads of SOWA's windows
POSITIONS = 64  # hidden channels of what turns their relative positions into a bias


def sowa(backbone: BackboneInfo, params: Mapping) -> dict[str, Shape]:
    joint = backbone.embed_dim
    found: dict[str, Shape] = {
        f"context.{side}": (params["context"], _text_width(backbone))
        for side in ("normal", "anomalous")
    }
    for i, layer in enumerate(params["layers"]):
        name, width = f"windows.{i}", backbone.channels(layer)
        if width % HEADS_OF_WINDOWS:
            raise AdapterError(
                f"Head sowa splits patch tokens into {HEADS_OF_WINDOWS} equal parts, but those of "
                f"{backbone.name} have {width} channels; choose another backbone."
            )
        found |= {f"{name}.scale": (HEADS_OF_WINDOWS, 1, 1)}
        found |= _linear(f"{name}.position.0", POSITIONS, 2)
        found |= {f"{name}.position.2.weight": (HEADS_OF_WINDOWS, POSITIONS)}
        found |= {f"{name}.linear.weight": (width, width)}
        for norm in ("norm_1", "norm_2"):
            found |= {f"{name}.{norm}.{part}": (width,) for part in ("weight", "bias")}
    return found | _linear("text", joint, joint)


LEVELS = 5  # maps of a pyramid
ALIGNED = 3  # of these, the coarsest are compared with a normal image


def metauas(backbone: BackboneInfo, params: Mapping) -> dict[str, Shape]:
    if len(backbone.pyramid) != LEVELS:
        raise AdapterError(
            f"Head metauas reads maps of a convolutional network at strides 2 to 32, which "
            f"{backbone.name} does not have; choose a backbone that `vlad backbones NAME` lists "
            "with them."
        )
    coarsest_first = backbone.pyramid[::-1]
    found: dict[str, Shape] = {}
    for i, channels in enumerate(coarsest_first[:ALIGNED]):
        half = max(1, channels // 2)
        found |= {f"align.{i}.weight": (half, channels, 1, 1), f"align.{i}.bias": (half,)}
    given = [c * (2 if i < ALIGNED else 1) for i, c in enumerate(coarsest_first)] + [0]
    inputs, width = given[0], params["width"]
    for i, outputs in enumerate((width, width // 2, width // 4, width // 4, 3 * width // 16)):
        joined = inputs + given[i + 1]
        for n, channels in ((1, joined), (2, outputs)):
            found[f"blocks.{i}.conv_{n}.weight"] = (outputs, channels, 3, 3)
            found |= _norm(f"blocks.{i}.norm_{n}", outputs)
            if given[i + 1]:  # the last one joins nothing, and has no gates
                found |= _gate(f"blocks.{i}.gate_{n}", channels)
        inputs = outputs
    return found | {"mask.weight": (1, inputs, 1, 1), "mask.bias": (1,)}


def _gate(name: str, channels: int) -> dict[str, Shape]:
    narrow = max(1, channels // 16)
    found: dict[str, Shape] = {}
    for part, shape in {"down": (narrow, channels), "up": (channels, narrow)}.items():
        found |= {f"{name}.{part}.weight": (*shape, 1, 1), f"{name}.{part}.bias": shape[:1]}
    return found | {f"{name}.place.weight": (1, channels, 1, 1), f"{name}.place.bias": (1,)}


def inp_former(backbone: BackboneInfo, params: Mapping) -> dict[str, Shape]:
    width = backbone.channels(params["layers"][0])
    if any(backbone.channels(layer) != width for layer in params["layers"]):
        raise AdapterError(
            f"Head inp_former averages blocks, but those of {backbone.name} differ in width; "
            "choose another backbone, or fit the head on normal images."
        )
    found: dict[str, Shape] = {"tokens": (params["prototypes"], width)}
    for part, outputs in (("q", width), ("kv", 2 * width), ("proj", width)):
        found |= _linear(f"extractor.attn.{part}", outputs, width)
    for norm in ("norm1", "norm2"):
        found |= {f"extractor.{norm}.{part}": (width,) for part in ("weight", "bias")}
    found |= _linear("extractor.mlp.fc1", 4 * width, width)
    return found | _linear("extractor.mlp.fc2", width, 4 * width)


def anomalyov(backbone: BackboneInfo, params: Mapping) -> dict[str, Shape]:
    positions, joint = params["positions"], params["embedding"]
    width = backbone.channels(max(1, backbone.depth - 1))
    if math.isqrt(positions) ** 2 != positions:
        raise AdapterError(
            f"Head anomalyov needs a weight for each place of a square grid, but the adapter has "
            f"{positions}; choose another file."
        )
    found: dict[str, Shape] = {f"embedding.{side}": (joint,) for side in ("normal", "anomalous")}
    found |= _linear("positions", 1, positions)
    found |= _linear("summary.0", params["summary"], width)
    found |= _linear("summary.2", joint, params["summary"])
    for i, layer in enumerate(params["layers"]):
        found |= _linear(f"tokens.{i}", joint, backbone.channels(layer))
        found |= _linear(f"sides.{i}", joint, 2 * joint)
    for name in ("query", "key"):
        found |= _linear(name, params["attention"], width)
    found |= _linear("score.0", params["hidden"], width)
    return found | _linear("score.2", 1, params["hidden"])
