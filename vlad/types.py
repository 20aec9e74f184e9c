"""The values that travel between the parts of vlad: samples, features, scores.

Shapes are written with B images, h·w patches, C channels of the backbone, D dimensions of the
joint image-text space, S pixels a side of the backbone's input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # torch is slow to import, and the commands read this module before they need it
    import numpy as np
    import torch


@dataclass(frozen=True)
class Box:
    """A region that a detector found in an image.

    Attributes:
        edges: left, top, right and bottom, as fractions of the image's sides, from 0 to 1.
        score: how sure the detector is, from 0 to 1.
        phrase: what it found, in words.
    """

    edges: tuple[float, float, float, float]
    score: float
    phrase: str


@dataclass(frozen=True)
class Sample:
    """One image to score.

    Attributes:
        path: the image file.
        id: unique in its list and safe as a relative file name without suffix ("good/000");
            outputs of this image are named after it.
        category: the name put into the prompts, or None to use the command's.
        label: 1 anomalous, 0 normal, None unknown.
        defect: the kind of defect ("good" for normal images), or None.
        mask: file of the ground-truth mask (non-zero = defect), a folder of such files whose
            union it is, or None.
        group: the object that it shows, shared by all views of that object, or None.
        severity: how bad the defect is, a whole number, 0 for normal; None unknown.
        boxes: what a detector found in it.
    """

    path: Path
    id: str
    category: str | None = None
    label: int | None = None
    defect: str | None = None
    mask: Path | None = None
    group: str | None = None
    severity: int | None = None
    boxes: tuple[Box, ...] = ()


Activation = Literal["gelu", "quick_gelu"]
# "bicubic_offset" is that of DINOv2's authors, whose scale is 0.1 patches larger than the grid
PosEmbedResize = Literal[
    "bicubic_antialias", "bicubic", "bicubic_offset", "bilinear", "bilinear_antialias"
]
# how images are resized, by Pillow's names
Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]


# what a backbone may be able to do besides patch tokens and the image embedding:
# "windows" passes of their own for windows of patches; "streams" further attention streams;
# "image tokens" learned tokens in the image encoder; "joint" patch tokens in the space of text;
# "weights" linear maps of whole tokens in its attention; "pyramid" maps of a convolutional network
# at strides 2, 4, 8, 16 and 32
Capability = Literal["windows", "streams", "image tokens", "joint", "weights", "pyramid"]
NATIVE: frozenset[Capability] = frozenset(
    {"windows", "streams", "image tokens", "joint", "weights"}
)
# a block (from 1), or several whose patch tokens are averaged before they are compared
Layer = int | tuple[int, ...]
# layers as users name them: block numbers (whole) or fractions of the depth
Parts = Sequence[float | Sequence[float]]


@dataclass(frozen=True)
class BackboneInfo:
    """What a head may know of a backbone before it says which features it needs.

    Attributes:
        name: the name it was loaded under.
        depth: number of transformer blocks, or stages of a convolutional network, counted from 1.
        width: channels C of the raw patch tokens, those of the last block if they differ.
        embed_dim: dimensions D of the image embedding.
        patch_size: pixels between neighbouring patch tokens.
        image_size: pixels a side of the input it was trained at.
        has_text: whether it has a text encoder.
        has_cls: whether it has a CLS token (SigLIP has none).
        text_width: channels T of its text encoder, if tokens can be learned inside it.
        text_depth: blocks of that text encoder in which tokens can be learned too; 0 without any.
        temperature: of the softmax of its cosines of images and text.
        activation: of its MLPs, if it is one of CLIP's two, else None.
        pos_embed: how its positional embeddings are resized to another grid.
        capabilities: what it can do besides patch tokens and the image embedding.
        widths: channels of every block, if they differ.
        pyramid: channels of the maps of its pyramid, finest first; () if it has none.
        step: a side of the input must be a multiple of it; 0 is the patch size.
        fixed_size: whether it takes inputs of `image_size` only.
        compare: layers for heads that compare patch tokens, if nobody names others; () leaves the
            choice to the head.
        preparation: what its own library does to images first, in words; vlad resizes the whole
            image to a square and cuts nothing off, so that no border is left unseen.
    """

    name: str
    depth: int
    width: int
    embed_dim: int
    patch_size: int
    image_size: int
    has_text: bool
    has_cls: bool = True
    text_width: int | None = None
    text_depth: int = 0
    temperature: float = 0.01
    activation: Activation | None = None
    pos_embed: PosEmbedResize = "bicubic_antialias"
    capabilities: frozenset[Capability] = NATIVE
    widths: tuple[int, ...] = ()
    pyramid: tuple[int, ...] = ()
    step: int = 0
    fixed_size: bool = False
    compare: tuple[Layer, ...] = ()
    preparation: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", self.step or self.patch_size)

    def channels(self, layer: Layer) -> int:
        """Channels of the patch tokens of a layer."""
        block = layer if isinstance(layer, int) else layer[0]
        return self.widths[block - 1] if self.widths else self.width

    def layers(self, parts: Parts) -> tuple[Layer, ...]:
        """Block numbers (whole) or fractions of the depth, or lists of them to average, as layers.

        A layer that a shallow backbone would give twice comes once.
        """

        def block(part: float) -> int:
            return part if isinstance(part, int) else max(1, round(self.depth * part))

        def layer(part: float | Sequence[float]) -> Layer:
            parts = [part] if isinstance(part, int | float) else part
            blocks = tuple(dict.fromkeys(map(block, parts)))
            return blocks if len(blocks) > 1 else blocks[0]

        return tuple(dict.fromkeys(map(layer, parts)))

    def replaced(self, activation: Activation | None) -> Activation | None:
        """The activation that replaces the backbone's own; None if none has to.

        Some methods run CLIP weights trained with one of its two GELUs with the other; backbones
        of another kind keep their own.
        """
        return None if activation == self.activation or not self.activation else activation


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
        pyramid: whether features are maps of the backbone's convolutional network at strides 2, 4,
            8, 16 and 32 instead of patch tokens; only `image_size` and `resize` have an effect.
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
    pyramid: bool = False

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

    def at(self, place: int) -> Features:
        """The features of one image, as a batch of one."""
        found = self._map(lambda x: x[place : place + 1])
        return replace(found, boxes=self.boxes[place : place + 1])

    def to(self, *args, **kwargs) -> Features:
        """The same features on another device or in another dtype (arguments of Tensor.to)."""
        weights = {name: x.to(*args, **kwargs) for name, x in self.weights.items()}
        return replace(self._map(lambda x: x.to(*args, **kwargs)), weights=weights)

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Features:
        """The same features with every tensor of images changed."""
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
        )


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


@dataclass(frozen=True)
class Scores:
    """A head's scores of B images; higher is more anomalous, never rescaled per image.

    Attributes:
        image_score: (B,).
        anomaly_map: (B, H, W) at the size of the backbone's input.
        kind: (B,) place of the nearest known kind of defect in the head's `known`, -1 for none;
            None from a head that knows no kinds.
    """

    image_score: torch.Tensor | np.ndarray
    anomaly_map: torch.Tensor | np.ndarray
    kind: torch.Tensor | np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.image_score)

    def numpy(self) -> Scores:
        """The same scores as numpy arrays."""

        def array(x):
            return x.cpu().numpy() if hasattr(x, "cpu") else x

        return Scores(array(self.image_score), array(self.anomaly_map), array(self.kind))


@dataclass(frozen=True)
class Verdicts:
    """Decisions on B images, apart from the scores they come from.

    Attributes:
        image_score: (B,) as the head gave it.
        p_value: (B,) share of the calibration's normal images that score as high, in (0, 1].
        anomalous: (B,) bool.
        abstain: (B,) bool, whether the decision is too uncertain to rely on.
        severity: (B,) whole numbers, 0 for normal, higher is worse.
    """

    image_score: np.ndarray
    p_value: np.ndarray
    anomalous: np.ndarray
    abstain: np.ndarray
    severity: np.ndarray

    def __len__(self) -> int:
        return len(self.image_score)
