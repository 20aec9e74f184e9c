"""What a head asks of a backbone, and what it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from vlad.types.backbones import Activation, Layer, PosEmbedResize
from vlad.types.samples import Box

if TYPE_CHECKING:  # torch is slow to import, and commands read this before they need it
    import torch


@dataclass(frozen=True)
class Stream:
    """A second path through the blocks whose attention compares tokens of one kind only.

    In every block from `first_block` on, `x ← x + out_proj(softmax(a aᵀ/√d) v)`, where a and v
    are computed from ln_1 of the *ordinary* stream; it has no MLP and leaves the ordinary stream
    as it is, so one pass serves both (CLIP Surgery, arXiv 2304.05653).

    Of kind "next" it is no path of its own: its output of a block is that of the ordinary stream
    plus the attention branch of the following block, which the programs of CLIP-AD and FiLo add in
    place to what they have stored. The last block's is the ordinary one.

    Of kind "attention" it is no path either: its output of a block is one channel, how much the
    registers attend to each token in that block, mean over heads and registers; where there are
    none, how much the class token does.

    Attributes:
        kind: which projection is compared with itself, while v is always what is averaged; or
            "next" or "attention".
        first_block: the first block (from 1) in which it runs.
        start: "input" begins with the input of `first_block`; "zero" with zeros.
        restart: blocks at whose input it is reset to its start.
    """

    kind: Literal["vv", "qq", "kk", "next", "attention"] = "vv"
    first_block: int = 1
    start: Literal["input", "zero"] = "input"
    restart: tuple[int, ...] = ()


PatchOutput = Literal["raw", "ln_post", "ln_post_proj", "proj"]
Resize = Literal["pil", "pil_bilinear", "float"]
# (B, D) image embeddings of a pass without them -> block (from 1) -> (B, k, C) tokens
ImagePrompts = Callable[["torch.Tensor"], Mapping[int, "torch.Tensor"]]
# (B, D) image embeddings -> (B, m, T) words before the normal and before the anomalous sentences
ImageContext = Callable[["torch.Tensor"], tuple["torch.Tensor", "torch.Tensor"]]


@dataclass(frozen=True, eq=False)
class TextSpec:
    """How a head wants its prompts read, if not by the plain text encoder.

    Attributes:
        activation: overrides the activation of the text encoder's MLPs, as in FeatureSpec.
        context: learned words (m, T) in front of the normal and of the anomalous sentences; or a
            function that gives them for each image, from the image embedding of the same pass.
        deep: block (from 1) -> (k, T) tokens that overwrite the tokens after the first one before
            that block; or a function that gives them for each image, as ImagePrompts does.
        phrases: sentences of each side that are read with the learned tokens in place of those of
            the bank, which are then read plainly; both come, as `TextFeatures.learned` has it.
        words: m, if `context` is a function.
    """

    activation: Activation | None = None
    context: tuple[torch.Tensor, torch.Tensor] | ImageContext | None = None
    deep: Mapping[int, torch.Tensor] | ImagePrompts | None = None
    phrases: tuple[Sequence[str], Sequence[str]] | None = None
    words: int = 0

    @property
    def length(self) -> int:
        """Number of learned words in front of every sentence."""
        return len(self.context[0]) if isinstance(self.context, tuple) else self.words

    @property
    def for_each_image(self) -> bool:
        """Whether sentences are read again for every image."""
        return callable(self.deep) or callable(self.context)


@dataclass(frozen=True)
class FeatureSpec:
    """What a head needs from the backbone. Two heads whose pass fields agree share one pass.

    Attributes:
        layers: blocks (from 1) whose patch tokens are returned, each alone or several averaged.
        normal_layers: further blocks, once the head is fitted on normal images: for these and for
            all images after them.
        patch_output: what is applied to those tokens: nothing, ln_post, ln_post and the
            projection into the joint space, or the projection alone.
        stream: the attention stream the patch tokens are read from; None is the ordinary one.
        windows: sides k of the k×k patch windows embedded on their own (WinCLIP).
        image: whether the image embedding is needed; without it the pass stops at the last layer
            asked for.
        image_ln_post: whether ln_post is applied to CLS before the projection.
        cls: blocks whose class token is returned, treated as patch tokens are; a backbone without
            one gives the mean of these.
        further: more tokens of the same pass, from other streams or treated in another way; of
            these specs, only `layers`, `patch_output`, `stream` and `cls` have an effect.
        weights: blocks whose frozen attention maps are needed too, for heads that use them again.
        text: how the head's prompts are read; None is by the plain text encoder.
        image_size: (pass) pixels a side of the input, if the user names none; None is the
            backbone's own.
        activation: (pass) overrides the activation of the MLPs; None is the backbone's own.
        pos_embed: (pass) overrides how the positional embeddings are resized to another grid; None
            is the backbone's own.
        resize: (pass) how images are brought to the input size: "pil" on 8-bit pixels with the
            backbone's filter, as CLIP was trained; "pil_bilinear" the same with a bilinear one;
            "float" on float pixels with antialiased bicubic, without rounding.
        prompts: (pass) tokens for each image that follow the others: block -> (B, k, C),
            replaced before every block named. They are made from the image embedding of the same
            pass without them, which comes back as `Features.plain`.
        views: whether the image embeddings of 22 changed views of the input are needed too
            (`vlad.images.views.altered`); each but the first costs a pass.
        statistics: whether features are statistics of the pixels instead of the backbone's
            (`vlad.images.statistics`): those of the cells as patch tokens of layer 1, their summary
            as the image embedding. There is no pass then, and only `image_size` has an effect.
        pixels: longest side of the pixels that are returned instead of the backbone's features, for
            heads with a model of their own; 0 is none. There is no pass then, and only `image_size`
            has an effect.
        pyramid: whether features are maps of the backbone's convolutional network at strides 2, 4,
            8, 16 and 32 instead of patch tokens; only `image_size` and `resize` have an effect.
        crops: whether tiles of each image, read at a higher resolution, are needed too
            (`vlad.images.crops`); each is one more image in a pass.
    """

    layers: tuple[Layer, ...] = ()
    normal_layers: tuple[Layer, ...] = ()
    patch_output: PatchOutput = "raw"
    stream: Stream | None = None
    windows: tuple[int, ...] = ()
    image: bool = True
    image_ln_post: bool = True
    cls: tuple[int, ...] = ()
    further: tuple[FeatureSpec, ...] = ()
    weights: tuple[int, ...] = ()
    text: TextSpec | None = None
    image_size: int | None = None
    activation: Activation | None = None
    pos_embed: PosEmbedResize | None = None
    resize: Resize = "pil"
    prompts: ImagePrompts | None = None
    views: bool = False
    statistics: bool = False
    pixels: int = 0
    pyramid: bool = False
    crops: bool = False

    @property
    def without_backbone(self) -> bool:
        """Whether its features come from the pixels alone, without a pass of the backbone."""
        return self.statistics or self.pixels > 0

    @property
    def tapped(self) -> set[int]:
        """The blocks that its layers are made from."""
        each = [(layer,) if isinstance(layer, int) else layer for layer in self.layers]
        return {block for blocks in each for block in blocks}

    @property
    def blocks(self) -> list[int]:
        """The blocks that its layers, class tokens and weights are of, in order, each once."""
        return sorted({*self.tapped, *self.cls, *self.weights})

    @property
    def parts(self) -> list[FeatureSpec]:
        """Itself and the specs of its further tokens."""
        return [self, *self.further]

    def with_normals(self) -> FeatureSpec:
        """The spec for normal images, and for all images after them."""
        return replace(self, layers=self.layers + self.normal_layers, normal_layers=())


@dataclass(frozen=True)
class Features:
    """The features of B images.

    Attributes:
        image: (B, D) projected, unnormalised image embedding (CLS, or the backbone's own pooling);
            None if the spec does not ask for it.
        patches: layer -> (B, h·w, C or D) patch tokens in row-major order, as the spec orders them.
        grid: (h, w).
        size: (H, W) pixels of the backbone's input.
        windows: side k -> (B, (h-k+1)·(w-k+1), D) embeddings of the k×k windows, row-major.
        cls: block -> (B, C or D) class tokens.
        further: the tokens of the spec's further specs, in their order.
        boxes: of each image, those given with it whose phrase names a fault of its category.
        plain: (B, D) image embedding of the pass without prompt tokens; None if there are none.
        views: (B, V, D) image embeddings of the views; None if the spec does not ask for them.
        bfloat16: whether the backbone multiplied in bfloat16; heads then do so in long products.
        weights: linear maps of the backbone, the same for all images: "value.N.weight" (C, C),
            "out.N.weight" (C, C) and "out.N.bias" (C,) of the attention of block N, "proj.weight"
            (D, C) and "proj.bias" (D,) into the joint space; empty if the spec asks for none.
        pyramid: five maps (B, C, H / s, W / s) at strides s of 2, 4, 8, 16 and 32, if the spec asks
            for them.
        pixels: of each image (3, h, w) RGB from 0 to 1, in its own proportions, if the spec asks
            for them.
        crops: the tiles of each image, if the spec asks for them.
    """

    image: torch.Tensor | None
    patches: Mapping[Layer, torch.Tensor]
    grid: tuple[int, int]
    size: tuple[int, int]
    windows: Mapping[int, torch.Tensor] = field(default_factory=dict)
    plain: torch.Tensor | None = None
    bfloat16: bool = False
    cls: Mapping[int, torch.Tensor] = field(default_factory=dict)
    further: tuple[Features, ...] = ()
    views: torch.Tensor | None = None
    boxes: tuple[tuple[Box, ...], ...] = ()
    weights: Mapping[str, torch.Tensor] = field(default_factory=dict)
    pyramid: tuple[torch.Tensor, ...] = ()
    pixels: tuple[torch.Tensor, ...] = ()
    crops: tuple[Crops, ...] = ()

    def at(self, place: int) -> Features:
        """The features of one image, as a batch of one."""
        found = self._map(lambda x: x[place : place + 1])
        one = slice(place, place + 1)
        return replace(found, boxes=self.boxes[one], pixels=self.pixels[one], crops=self.crops[one])

    def to(self, *args, **kwargs) -> Features:
        """The same features on another device or in another dtype (arguments of Tensor.to)."""
        weights = {name: x.to(*args, **kwargs) for name, x in self.weights.items()}
        pixels = tuple(x.to(*args, **kwargs) for x in self.pixels)
        crops = tuple(replace(x, features=x.features.to(*args, **kwargs)) for x in self.crops)
        found = self._map(lambda x: x.to(*args, **kwargs))
        return replace(found, weights=weights, pixels=pixels, crops=crops)

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Features:
        """The same features with every tensor that has a row for each image changed."""
        return replace(
            self,
            image=None if self.image is None else change(self.image),
            plain=None if self.plain is None else change(self.plain),
            views=None if self.views is None else change(self.views),
            patches={k: change(v) for k, v in self.patches.items()},
            windows={k: change(v) for k, v in self.windows.items()},
            cls={k: change(v) for k, v in self.cls.items()},
            further=tuple(features._map(change) for features in self.further),
            pyramid=tuple(map(change, self.pyramid)),
        )

    @staticmethod
    def cat(parts: Sequence[Features]) -> Features:
        """Features of several batches as one; all of one backbone and one spec."""
        import torch

        def joined(tensors: list[torch.Tensor | None]) -> torch.Tensor | None:
            found = [x for x in tensors if x is not None]
            return torch.cat(found) if found else None

        first = parts[0]
        return replace(
            first,
            image=joined([p.image for p in parts]),
            plain=joined([p.plain for p in parts]),
            views=joined([p.views for p in parts]),
            patches={k: torch.cat([p.patches[k] for p in parts]) for k in first.patches},
            windows={k: torch.cat([p.windows[k] for p in parts]) for k in first.windows},
            cls={k: torch.cat([p.cls[k] for p in parts]) for k in first.cls},
            further=tuple(map(Features.cat, zip(*(p.further for p in parts), strict=True))),
            boxes=tuple(boxes for p in parts for boxes in p.boxes),
            pyramid=tuple(map(torch.cat, zip(*(p.pyramid for p in parts), strict=True))),
            pixels=tuple(x for p in parts for x in p.pixels),
            crops=tuple(crops for p in parts for crops in p.crops),
        )


@dataclass(frozen=True)
class Crops:
    """The tiles of one image.

    Attributes:
        features: of the tiles, row by row, each as if it were an image.
        layout: (rows, columns).
        inside: (top, bottom), (left, right) of the image within its tiles, in pixels of these; the
            rest was added around it.
    """

    features: Features
    layout: tuple[int, int]
    inside: tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class TextFeatures:
    """Embeddings of a category's prompts, one row a sentence, projected and unnormalised.

    Attributes:
        normal: (N, D), or (B, N, D) if every image has its own.
        anomalous: (A, D) or (B, A, D).
        learned: the embeddings of the phrases of a TextSpec.
    """

    normal: torch.Tensor
    anomalous: torch.Tensor
    learned: TextFeatures | None = None

    def to(self, *args, **kwargs) -> TextFeatures:
        """The same embeddings on another device or in another dtype (arguments of Tensor.to)."""
        both = (self.normal.to(*args, **kwargs), self.anomalous.to(*args, **kwargs))
        return TextFeatures(*both, self.learned and self.learned.to(*args, **kwargs))
