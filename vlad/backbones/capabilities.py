"""What a backbone can do, checked against what a head asks for before any weights are needed."""

from __future__ import annotations

from collections.abc import Iterator

from vlad.errors import BackboneError
from vlad.types import BackboneInfo, Capability, FeatureSpec

WORDS: dict[Capability, str] = {
    "windows": "separate passes of windows of patches",
    "streams": "attention streams beside the ordinary one",
    "image tokens": "learned tokens in its image encoder",
    "joint": "patch tokens in the space of text",
    "weights": "linear maps of whole tokens in its attention",
    "pyramid": "maps of a convolutional network at strides 2 to 32",
}


COARSEST = 32  # pixels between places of the coarsest map of a pyramid


def wanted(spec: FeatureSpec) -> Iterator[Capability]:
    """The capabilities that a spec needs, besides patch tokens and the image embedding."""
    if spec.windows:
        yield "windows"
    if any(part.stream is not None for part in spec.parts) or not spec.image_ln_post:
        yield "streams"
    if spec.prompts is not None:
        yield "image tokens"
    if any(part.patch_output in ("ln_post_proj", "proj") for part in spec.parts):
        yield "joint"
    if spec.weights:
        yield "weights"
    if spec.pyramid:
        yield "pyramid"


def check_spec(info: BackboneInfo, spec: FeatureSpec, side: int, head: str = "") -> None:
    """Check that a backbone can give what a spec asks for.

    Args:
        side: pixels a side of the input.
        head: the head that asks, for the sentence.

    Raises:
        BackboneError: a capability or a block that the backbone does not have, blocks of several
            widths to average, a size that patches do not fill, or a window larger than the grid.
    """
    who = f"Head {head}" if head else "This head"
    for capability in wanted(spec):
        if capability not in info.capabilities:
            raise BackboneError(
                f"{who} needs {WORDS[capability]}, which {info.name} does not have; choose a "
                "backbone that `vlad backbones NAME` lists with it, or another head."
            )
    kinds = {part.stream.kind for part in spec.parts if part.stream is not None}
    if "attention" in kinds and not info.has_cls:
        raise BackboneError(
            f"{who} needs the attention of a class token, which {info.name} does not have; choose "
            "another backbone, such as DINOv2 with registers."
        )
    if side % info.step:
        raise BackboneError(
            f"An input of {side}×{side} pixels is not a multiple of {info.step}, which this "
            "backbone needs to cut it into patches; choose another image size."
        )
    if spec.pyramid and side % COARSEST:
        raise BackboneError(
            f"{who} needs maps that halve five times, but an input of {side}×{side} pixels is not "
            f"a multiple of {COARSEST}; choose another image size."
        )
    for block in {block for part in spec.with_normals().parts for block in part.blocks}:
        if not 1 <= block <= info.depth:
            raise BackboneError(
                f"Block {block} does not exist: this backbone has blocks 1 to {info.depth}; choose "
                "other layers."
            )
    for part in spec.with_normals().parts:
        for layer in part.layers:
            if isinstance(layer, tuple) and len({info.channels(block) for block in layer}) > 1:
                raise BackboneError(
                    f"{who} averages the tokens of blocks {', '.join(map(str, layer))}, which "
                    f"differ in width on {info.name}; choose single blocks as its layers."
                )
    grid = side // info.patch_size
    if spec.windows and max(spec.windows) > grid:
        raise BackboneError(
            f"A window of {max(spec.windows)}×{max(spec.windows)} patches does not fit a grid of "
            f"{grid}×{grid}; choose a larger image size."
        )
    if info.fixed_size and side != info.image_size:
        raise BackboneError(
            f"{info.name} takes inputs of {info.image_size}×{info.image_size} pixels only; leave "
            "out the image size."
        )
