"""What every backbone guarantees, as checks over one small model of a kind.

A test builds a random model, lets vlad load it, and describes it as a `Case`; `check_backbone` runs
every check, and a table of tests *kind × guarantee* takes them from CHECKS one by one.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from case import SENTENCES, Case, close

from vlad.backbones.backbone import Backbone
from vlad.backbones.capabilities import check_spec
from vlad.errors import BackboneError, GraphError, HeadError
from vlad.types import FeatureSpec, Stream

STREAM = Stream("vv", first_block=1)
SPREAD = 1e-6  # of the standard deviation: how close patch tokens are to the library's, in the mean


# what the current check saw refused; the table of the suite shows it as "-"
REFUSED: list[str] = []


@torch.no_grad()
def check_blocks(case: Case) -> None:
    """Patch tokens of every block equal the library's, at every size, and shapes are as stated."""
    info = case.info
    for size in case.sizes or [(info.image_size, info.image_size)]:
        pixels = case.pixels(size)
        found = case.run(pixels)
        grid = (size[0] // info.patch_size, size[1] // info.patch_size)
        assert found.grid == grid
        for block in range(1, info.depth + 1):
            tokens = found.patches[None, block]
            assert tokens.shape == (len(pixels), grid[0] * grid[1], info.channels(block))
            assert tokens.dtype == torch.float32
        if case.hidden_states is None:
            continue
        expected = case.hidden_states(pixels)
        assert len(expected) == info.depth
        for block, wanted in enumerate(expected, start=1):
            wanted = _tokens(wanted, grid)
            off = (found.patches[None, block] - wanted).double()
            spread = wanted.double().std()
            error = (off.square().mean().sqrt() / spread).item()
            assert error <= SPREAD, f"block {block} at {size}: {error:.1e} of its spread"


def _tokens(x: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Maps of any resolution as tokens of the grid; tokens as they are."""
    if x.ndim == 3:
        return x
    if x.shape[-2] > grid[0]:
        assert x.shape[-2] % grid[0] == 0 and x.shape[-1] % grid[1] == 0
        x = F.avg_pool2d(x, (x.shape[-2] // grid[0], x.shape[-1] // grid[1]))
    elif x.shape[-2] < grid[0]:
        x = F.interpolate(x, grid, mode="bilinear")
    return x.flatten(2).transpose(1, 2)


@torch.no_grad()
def check_embedding(case: Case) -> None:
    """The image embedding equals the library's, with or without blocks asked for beside it."""
    info = case.info
    for size in case.sizes or [(info.image_size, info.image_size)]:
        pixels = case.pixels(size)
        alone = case.embed(pixels)
        assert alone.shape == (len(pixels), info.embed_dim)
        beside = case.backbone.vision.embed_image(case.run(pixels).last)
        close(beside, alone)
        if case.embedding is not None:
            close(alone, case.embedding(pixels))
        first = case.embed(case.pixels(size)[:1])
        assert (first - case.embed(-case.pixels(size)[:1])).abs().max() > 1e-3 * first.abs().max()


@torch.no_grad()
def check_text(case: Case) -> None:
    """Text embeddings equal the library's; without a text encoder, words are refused."""
    backbone = case.backbone
    if not case.info.has_text:
        REFUSED.append("text")
        with pytest.raises(HeadError, match="no text encoder"):
            backbone.encode_text(SENTENCES)
        return
    found = backbone.encode_text(SENTENCES)
    assert found.shape == (len(SENTENCES), case.info.embed_dim)
    assert (found[0] - found[1]).abs().max() > 1e-3 * found.abs().max()
    if case.text is not None:
        close(found, case.text(SENTENCES))
    alone = torch.cat([backbone.encode_text([sentence]) for sentence in SENTENCES])
    close(alone, found)
    if case.info.text_width is None:
        with pytest.raises(HeadError, match="learned tokens"):
            backbone.encode_text(SENTENCES, context=torch.zeros(2, 8))
    else:
        words = torch.randn(2, case.info.text_width, generator=torch.Generator().manual_seed(2))
        learned = backbone.encode_text(SENTENCES, context=words)
        assert (learned - found).abs().max() > 1e-3 * found.abs().max()
    if case.info.text_depth:
        deep = backbone.encode_text(SENTENCES, deep={case.info.text_depth: words})
        assert (deep - found).abs().max() > 1e-4 * found.abs().max()


@torch.no_grad()
def check_windows(case: Case) -> None:
    """A window as large as the grid is the image itself; smaller ones differ from each other."""
    spec = FeatureSpec(windows=(1,))
    if "windows" not in case.info.capabilities:
        return _refused(case, spec, "separate passes of windows", windows=(1,))
    check_spec(case.info, spec, case.info.image_size)
    pixels = case.pixels()
    grid = case.info.image_size // case.info.patch_size
    found = case.run(pixels, taps=(), windows=(grid - 1, grid))
    close(found.windows[grid][:, 0], case.embed(pixels))
    close(case.backbone.vision.embed_image(found.last), case.embed(pixels))
    smaller = found.windows[grid - 1]
    assert smaller.shape == (len(pixels), 4, case.info.embed_dim)
    assert (smaller[:, 0] - smaller[:, 1]).abs().max() > 1e-3 * smaller.abs().max()


@torch.no_grad()
def check_streams(case: Case) -> None:
    """Attention streams run beside the ordinary one and leave it as it is."""
    spec = FeatureSpec(layers=(case.info.depth,), stream=STREAM)
    last = case.info.depth
    if "streams" not in case.info.capabilities:
        return _refused(case, spec, "attention streams", taps=[(STREAM, last)])
    check_spec(case.info, spec, case.info.image_size)
    pixels = case.pixels()
    plain = case.run(pixels)
    for kind in ("vv", "qq", "kk"):
        stream = replace(STREAM, kind=kind)
        found = case.run(pixels, taps=[(stream, last), (None, last)])
        close(found.patches[None, last], plain.patches[None, last])
        other = found.patches[stream, last]
        assert other.shape == plain.patches[None, last].shape and other.isfinite().all()
        assert (other - plain.patches[None, last]).abs().max() > 1e-3


@torch.no_grad()
def check_image_tokens(case: Case) -> None:
    """Learned tokens in the image encoder change the patch tokens and are not among them."""
    tokens = torch.randn(2, 3, case.info.width, generator=torch.Generator().manual_seed(3))
    spec = FeatureSpec(layers=(case.info.depth,), prompts=lambda image: {1: tokens})
    if "image tokens" not in case.info.capabilities:
        return _refused(case, spec, "learned tokens", prompts={1: tokens})
    check_spec(case.info, spec, case.info.image_size)
    pixels = case.pixels()
    plain, found = case.run(pixels), case.run(pixels, prompts={1: tokens})
    for block in range(1, case.info.depth + 1):
        before, after = plain.patches[None, block], found.patches[None, block]
        assert before.shape == after.shape
    assert (before - after).abs().max() > 1e-4
    assert found.last.shape == plain.last.shape


@torch.no_grad()
def check_joint(case: Case) -> None:
    """Each patch token of the last block is embedded alone, in the space of the image embedding."""
    spec = FeatureSpec(layers=(case.info.depth,), patch_output="ln_post_proj")
    if "joint" not in case.info.capabilities:
        return _refused(case, spec, "in the space of text")
    check_spec(case.info, spec, case.info.image_size)
    tokens = case.run(case.pixels()).patches[None, case.info.depth]
    joint = case.backbone.vision.joint(tokens)
    assert joint.shape == (*tokens.shape[:2], case.info.embed_dim)
    close(joint[:, 1:2], case.backbone.vision.joint(tokens[:, 1:2]))


@torch.no_grad()
def check_weights(case: Case) -> None:
    """The linear maps of the attention and of the projection are those that a pass uses."""
    last = case.info.depth
    spec = FeatureSpec(weights=(1, last))
    if "weights" not in case.info.capabilities:
        return _refused(case, spec, "linear maps of whole tokens")
    check_spec(case.info, spec, case.info.image_size)
    vision = case.backbone.vision
    found = vision.weights(spec.weights)
    x = case.run(case.pixels()).patches[None, last]
    for block in spec.weights:
        part = vision.blocks[block - 1]
        value = part.qkv(x)[2] - part.qkv(torch.zeros_like(x))[2]  # without its bias
        close(x @ found[f"value.{block}.weight"].T, value)
        out = x @ found[f"out.{block}.weight"].T + found[f"out.{block}.bias"]
        close(out, part.out(x))
    close(x @ found["proj.weight"].T + found["proj.bias"], vision.proj(x))


@torch.no_grad()
def check_pyramid(case: Case) -> None:
    """Maps at strides 2 to 32, of each image on its own; sizes that do not halve are refused."""
    spec = FeatureSpec(pyramid=True, image=False)
    if "pyramid" not in case.info.capabilities:
        assert case.info.pyramid == ()
        return _refused(case, spec, "maps of a convolutional network")
    check_spec(case.info, spec, 64)
    with pytest.raises(BackboneError, match=f"multiple of ({case.info.step}|32)"):
        check_spec(case.info, spec, 80)
    pixels = case.pixels((64, 64))
    found = case.backbone.maps(pixels)
    assert [tuple(x.shape) for x in found] == [
        (len(pixels), channels, 64 >> level, 64 >> level)
        for level, channels in enumerate(case.info.pyramid, 1)
    ]
    for x, alone in zip(found, case.backbone.maps(pixels[1:]), strict=True):
        assert x.is_contiguous() and x.std() > 0
        close(x[1:], alone)


def _refused(case: Case, spec: FeatureSpec, words: str, **options) -> None:
    """Refused before any pass, and by the pass itself."""
    REFUSED.append(words)
    with pytest.raises(BackboneError, match=words) as error:
        check_spec(case.info, spec, case.info.image_size, "winclip")
    assert case.info.name in str(error.value) and str(error.value).count("; ") == 1
    if options:
        with pytest.raises(BackboneError, match="plain vision transformer"):
            case.backbone.forward(case.pixels(), **options)


@torch.no_grad()
def check_sizes(case: Case) -> None:
    """An input that patches do not fill is refused, as is any other size of a fixed backbone."""
    spec = FeatureSpec(layers=(1,))
    with pytest.raises(BackboneError, match=f"multiple of {case.info.step}"):
        check_spec(case.info, spec, case.info.image_size + 1)
    larger = case.info.image_size + case.info.step
    if case.info.fixed_size:
        with pytest.raises(BackboneError, match="only"):
            check_spec(case.info, spec, larger)
        return
    check_spec(case.info, spec, larger)
    assert case.run(case.pixels((larger, larger))).grid == (larger // case.info.patch_size,) * 2


@torch.no_grad()
def check_bfloat16(case: Case) -> None:
    """In bfloat16 the outputs stay near, and are not the same."""
    backbone, pixels = case.backbone, case.pixels()
    full, image = case.run(pixels), case.embed(pixels)
    words = backbone.encode_text(SENTENCES) if case.info.has_text else None
    weights = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    try:
        backbone.to("cpu", torch.bfloat16)
        half = case.run(pixels)
        for tap, tokens in full.patches.items():
            found = half.patches[tap].float()
            assert torch.cosine_similarity(found, tokens, dim=-1).mean() > 0.999
            assert not torch.equal(found, tokens)
        similar = torch.cosine_similarity(case.embed(pixels).float(), image)
        assert similar.min() > 0.995
        if words is not None:
            close(backbone.encode_text(SENTENCES), words)
    finally:
        backbone.to("cpu")
        backbone.model.load_state_dict(weights)
        backbone.to("cpu")
    close(case.embed(pixels), image)


@torch.no_grad()
def check_runtime(case: Case, name: str, module: str) -> None:
    """Another runtime gives the same for any number of images at every size, or refuses."""
    pytest.importorskip(module)
    from vlad.backbones.runtimes import load_runtime, use

    backbone = case.backbone
    inputs = [case.pixels(images=3), *(case.pixels(size) for size in case.sizes[1:])]
    expected = [(case.run(pixels), case.embed(pixels)) for pixels in inputs]
    try:
        use(backbone, load_runtime(name))
        case.run(case.pixels(images=2))
        for pixels, (taps, image) in zip(inputs, expected, strict=True):
            found = case.run(pixels)
            for tap, tokens in taps.patches.items():
                close(found.patches[tap], tokens, 1e-4)
            close(backbone.vision.embed_image(found.last), image, 1e-4)
        assert name not in case.refused_by
    except GraphError as error:
        REFUSED.append(name)
        assert name in case.refused_by and "choose another" in str(error), error
    finally:
        backbone.to("cpu")


def check_threads(case: Case) -> None:
    """Two threads at once, at two sizes, get what each alone gets."""
    inputs = [case.pixels(), -case.pixels(), *(map(case.pixels, case.sizes[1:2]))] * 3
    with torch.no_grad():
        expected = [case.embed(pixels) for pixels in inputs]
    case.backbone.to("cpu")  # without what a pass keeps for the next

    def embed(pixels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return case.embed(pixels)

    with ThreadPoolExecutor(2) as threads:
        for found, wanted in zip(threads.map(embed, inputs), expected, strict=True):
            close(found, wanted)


def check_pickling(case: Case) -> None:
    """A copy through pickle, as for another process, gives the same."""
    copied = replace(case, backbone=pickle.loads(pickle.dumps(case.backbone)))
    assert torch.equal(copied.embed(case.pixels()), case.embed(case.pixels()))
    if case.info.has_text:
        found = copied.backbone.encode_text(SENTENCES)
        assert torch.equal(found, case.backbone.encode_text(SENTENCES))


def check_gradients(case: Case) -> None:
    """No weight asks for a gradient, and a pass keeps none."""
    assert not any(p.requires_grad for p in case.backbone.model.parameters())
    assert not case.embed(case.pixels()).requires_grad
    assert not case.backbone.model.training


def check_described(case: Case) -> None:
    """What is said before the weights are there is true of them."""
    if case.described is not None:
        assert case.described == case.info


CHECKS: dict[str, Callable[[Case], None]] = {
    "blocks": check_blocks,
    "embedding": check_embedding,
    "text": check_text,
    "windows": check_windows,
    "streams": check_streams,
    "image tokens": check_image_tokens,
    "joint": check_joint,
    "weights": check_weights,
    "pyramid": check_pyramid,
    "sizes": check_sizes,
    "bfloat16": check_bfloat16,
    "onnx": partial(check_runtime, name="onnx", module="onnxruntime"),
    "openvino": partial(check_runtime, name="openvino", module="openvino"),
    "threads": check_threads,
    "pickling": check_pickling,
    "gradients": check_gradients,
    "described": check_described,
}


def check_backbone(
    backbone: Backbone,
    hidden_states: Callable[[torch.Tensor], Sequence[torch.Tensor]] | None = None,
    **known,
) -> None:
    """Run every check on one backbone; `known` are the other attributes of `Case`."""
    case = Case(backbone, hidden_states, **known)
    for check in CHECKS.values():
        check(case)
