"""Pixels to features: one backbone pass for every set of heads that can share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import numpy as np
import torch
from PIL import Image

from vlad.backbones.backbone import Backbone
from vlad.backbones.block import identity
from vlad.backbones.capabilities import check_spec
from vlad.backbones.vit import Taps, VisionTransformer
from vlad.errors import BackboneError, InputError
from vlad.images import statistics, to_pixels
from vlad.images.crops import before_cut, cut
from vlad.images.resize import own_pixels
from vlad.images.views import altered
from vlad.scoring.transfer import upload
from vlad.system.torch_state import own_state
from vlad.types import (
    Activation,
    Crops,
    Features,
    FeatureSpec,
    ImagePrompts,
    Layer,
    PosEmbedResize,
    Resize,
)

# side of the input, and how it was reached; "statistics" are those of the pixels, "own" are pixels
# of the image in its own proportions, whose longest side it is, and "crops" is the image at the
# size at which it is cut into tiles of that side
Pixels = tuple[int, Resize | Literal["statistics", "own", "crops"]]


@dataclass(frozen=True)
class Pass:
    """What distinguishes passes of the backbone."""

    size: int
    resize: Resize
    activation: Activation | None
    pos_embed: PosEmbedResize | None
    prompts: ImagePrompts | None

    @property
    def pixels(self) -> Pixels:
        """What distinguishes their inputs."""
        return self.size, self.resize


class Extractor:
    """Turns images into the features that heads ask for, with as few passes as possible.

    Args:
        backbone: the frozen backbone.
        image_size: pixels a side of the input; None is that of the spec, else the backbone's own.
    """

    def __init__(self, backbone: Backbone, image_size: int | None = None):
        self.backbone = backbone
        self.image_size = image_size

    def size(self, spec: FeatureSpec) -> int:
        """Pixels a side of the input for a spec."""
        return self.image_size or spec.image_size or self.backbone.info.image_size

    def check(self, spec: FeatureSpec) -> None:
        """Check that the backbone can give what a spec asks for, before any image is read.

        Raises:
            BackboneError: as `vlad.backbones.capabilities.check_spec`.
        """
        check_spec(self.backbone.info, spec, self.size(spec))

    @own_state()
    def prepare(self, image: Image.Image, specs: Sequence[FeatureSpec]) -> dict[Pixels, np.ndarray]:
        """The (3, S, S) pixels that each pass needs, and what heads without a pass read.

        The latter are the (h, w, F) statistics of cells, and (3, h, w) pixels from 0 to 1.

        For specs that ask for crops, also the (3, h, w) pixels of the image before it is cut.

        Safe to call from several threads.
        """
        backbone = self.backbone
        look = (backbone.mean, backbone.std)
        prepared: dict[Pixels, np.ndarray] = {
            (size, how): statistics.cells(image)
            if how == "statistics"
            else own_pixels(image, size)
            if how == "own"
            else to_pixels(image, size, *look, how, backbone.interpolation)
            for size, how in {self.pixels_of(spec) for spec in specs}
        }
        for side in {self.size(spec) for spec in specs if spec.crops}:
            width, height = before_cut(image.size, side)
            prepared[side, "crops"] = to_pixels(
                image, (height, width), *look, interpolation=backbone.interpolation
            )
        return prepared

    def check_prepared(
        self, prepared: Sequence[dict[Pixels, np.ndarray]], specs: Sequence[FeatureSpec]
    ) -> None:
        """Check that all images were prepared for these specs, at one size.

        Raises:
            InputError: they were not.
        """
        needed: set[Pixels] = {self.pixels_of(spec) for spec in specs}
        needed |= {(self.size(spec), "crops") for spec in specs if spec.crops}
        for pixels in prepared:
            if not needed <= pixels.keys():
                sizes = " and ".join(str(size) for size, _ in sorted({*needed, *pixels}))
                raise InputError(
                    f"A batch holds images of several sizes ({sizes} pixels); prepare all of "
                    "them with the panel that scores them."
                )

    @own_state()
    def extract(
        self, prepared: Sequence[dict[Pixels, np.ndarray]], specs: Sequence[FeatureSpec]
    ) -> list[Features]:
        """Features of B prepared images, one `Features` per spec, in float32.

        Gradients flow to prompt tokens that ask for them, under the caller's grad mode.

        Raises:
            InputError: the images were not all prepared for these specs, at one size.
        """
        self.check_prepared(prepared, specs)
        passes: dict[Pass, list[FeatureSpec]] = {}
        for spec in specs:
            if not (spec.without_backbone or spec.pyramid):
                passes.setdefault(self.pass_of(spec), []).append(spec)
        plain = {key: replace(key, prompts=None) for key in passes if key.prompts}
        # prompts are made from the pass without them, which comes first and may serve others too
        for key in plain.values():
            passes.setdefault(key, [])
        taps: dict[Pass, Taps] = {}
        images: dict[Pass, torch.Tensor] = {}
        inputs = {key.pixels: self._inputs(prepared, key.pixels) for key in passes}
        for key in sorted(passes, key=lambda key: key.prompts is not None):
            tokens = key.prompts(images[plain[key]]) if key.prompts else None
            batch, own = inputs[key.pixels], passes[key]
            taps[key] = self._run(key, batch, own, tokens, key in plain.values())
            if key in plain.values():
                images[key] = self._image(taps[key])
        views = {
            key: self._views(key, inputs[key.pixels], taps[key])
            for key in dict.fromkeys(self.pass_of(spec) for spec in specs if spec.views)
        }
        found = []
        for spec in specs:
            if spec.without_backbone:
                found.append(self.without_backbone(spec, prepared))
                continue
            if spec.pyramid:
                found.append(self.pyramid(spec, prepared))
                continue
            key = self.pass_of(spec)
            features = self.features(spec, taps[key], images[plain[key]] if key in plain else None)
            if spec.views:
                features = replace(features, views=views[key])
            if spec.crops:
                crops = (self.crops(spec, pixels[self.size(spec), "crops"]) for pixels in prepared)
                features = replace(features, crops=tuple(crops))
            found.append(features)
        return found

    def crops(self, spec: FeatureSpec, pixels: np.ndarray) -> Crops:
        """The tiles of an image of (3, h, w) pixels, in a pass of their own."""
        black = -np.asarray(self.backbone.mean, np.float32) / np.asarray(self.backbone.std)
        tiles, layout, inside = cut(pixels, self.size(spec), black)
        batch = upload([*tiles], self.backbone.device)
        taps = self._run(self.pass_of(spec), batch, [spec], None, False)
        return Crops(self.features(spec, taps), layout, inside)

    def pixels_of(self, spec: FeatureSpec) -> tuple[int, Resize | Literal["statistics", "own"]]:
        """What a spec is computed from, as `prepare` names it."""
        if spec.pixels:
            return spec.pixels, "own"
        return self.size(spec), "statistics" if spec.statistics else spec.resize

    def without_backbone(
        self, spec: FeatureSpec, prepared: Sequence[dict[Pixels, np.ndarray]]
    ) -> Features:
        """The features of a spec that asks for pixels, or for statistics of them."""
        each = [pixels[self.pixels_of(spec)] for pixels in prepared]
        side, device = self.size(spec), self.backbone.device
        if spec.pixels:
            cells = side // self.backbone.info.patch_size
            own = tuple(upload([x], device)[0] for x in each)
            return Features(None, {}, (cells, cells), (side, side), pixels=own)
        x = upload(each, device)
        return Features(
            image=upload([statistics.summary(cells) for cells in each], device).to(x),
            patches={1: x.flatten(1, 2)},
            grid=(x.shape[1], x.shape[2]),
            size=(side, side),
        )

    def pyramid(self, spec: FeatureSpec, prepared: Sequence[dict[Pixels, np.ndarray]]) -> Features:
        """The features of a spec that asks for maps of the backbone's convolutional network."""
        maps = self.backbone.maps(self._inputs(prepared, self.pixels_of(spec)))
        side = self.size(spec)
        cells = side // self.backbone.info.patch_size
        return Features(None, {}, (cells, cells), (side, side), pyramid=maps)

    def pass_of(self, spec: FeatureSpec) -> Pass:
        """The pass of the backbone that a spec needs."""
        info, size = self.backbone.info, self.size(spec)
        # specs whose differences have no effect on this backbone at this size share a pass
        pos_embed = None if size == info.image_size else spec.pos_embed or info.pos_embed
        return Pass(size, spec.resize, info.replaced(spec.activation), pos_embed, spec.prompts)

    def options(self, key: Pass, specs: Sequence[FeatureSpec], image: bool = False) -> dict:
        """The options of one backbone pass, besides pixels and prompts.

        Args:
            image: whether the image embedding is needed whatever the specs say.
        """
        parts = [part for spec in specs for part in spec.parts]
        return {
            "taps": {(part.stream, block) for part in parts for block in part.tapped},
            "cls": {(part.stream, block) for part in parts for block in part.cls},
            "windows": sorted({side for spec in specs for side in spec.windows}),
            "image": image or any(spec.image or spec.views for spec in specs),
            "activation": key.activation,
            "pos_embed": key.pos_embed or "bicubic_antialias",
        }

    def _inputs(self, prepared: Sequence[dict[Pixels, np.ndarray]], pixels: Pixels) -> torch.Tensor:
        """(B, 3, S, S) pixels of one kind on the backbone's device."""
        return upload([one[pixels] for one in prepared], self.backbone.device)

    def _run(
        self,
        key: Pass,
        pixels: torch.Tensor,
        specs: list[FeatureSpec],
        prompts: Mapping[int, torch.Tensor] | None,
        image: bool,
    ) -> Taps:
        return self.backbone.forward(pixels, prompts=prompts, **self.options(key, specs, image))

    def _views(self, key: Pass, batch: torch.Tensor, whole: Taps) -> torch.Tensor:
        """(B, V, D) image embeddings of the views of the inputs of a pass.

        Args:
            batch: (B, 3, S, S), these inputs.
            whole: what the pass gave; the first view is the input itself.
        """
        options = self.options(key, [], image=True)
        found = [self._image(whole)]
        # view by view: all views of a batch at once would set the memory peak
        for view in islice(altered(batch), 1, None):
            found.append(self._image(self.backbone.forward(view.contiguous(), **options)))
        return torch.stack(found, dim=1)

    def _image(self, taps: Taps, ln_post: bool = True) -> torch.Tensor:
        assert taps.last is not None  # it was requested
        return self.backbone.vision.embed_image(taps.last, ln_post).float()

    def features(
        self, spec: FeatureSpec, taps: Taps, plain: torch.Tensor | None = None
    ) -> Features:
        """The features of a spec, from the taps of its pass and the embedding of the plain one."""
        vision = self.backbone.vision
        outputs = {
            "raw": identity,
            "ln_post": vision.ln_post,
            "ln_post_proj": vision.joint,
            "proj": vision.proj,
        }
        output = outputs[spec.patch_output]
        assert output is not None  # `check` refuses what the backbone lacks

        def tokens(layer: Layer) -> torch.Tensor:
            blocks = (layer,) if isinstance(layer, int) else layer
            found = [output(taps.patches[spec.stream, block]).float() for block in blocks]
            return found[0] if len(found) == 1 else torch.stack(found).mean(dim=0)

        def class_token(block: int) -> torch.Tensor:
            return output(taps.cls[spec.stream, block][:, None])[:, 0].float()

        side = self.size(spec)
        return Features(
            image=self._image(taps, spec.image_ln_post) if spec.image else None,
            patches={layer: tokens(layer) for layer in spec.layers},
            grid=taps.grid,
            size=(side, side),
            windows={k: taps.windows[k].float() for k in spec.windows},
            plain=plain,
            bfloat16=self.backbone.dtype == torch.bfloat16,
            cls={block: class_token(block) for block in spec.cls},
            further=tuple(self.features(replace(part, image=False), taps) for part in spec.further),
            weights=self.weights(spec),
        )

    def weights(self, spec: FeatureSpec) -> dict[str, torch.Tensor]:
        """The backbone's linear maps that a spec asks for, as `Features.weights`."""
        if not spec.weights:
            return {}
        vision = self.backbone.vision
        assert isinstance(vision, VisionTransformer)  # `check` refuses all others
        return vision.weights(spec.weights)


def check_runtime(backbone: Backbone, spec: FeatureSpec, head: str) -> None:
    """Raise a BackboneError if a spec asks for maps and the runtime does not compute them."""
    if spec.pyramid and backbone.passes:
        raise BackboneError(
            f"Head {head} reads maps of a convolutional network, which torch computes, not "
            f"{backbone.runtime}; leave out the runtime."
        )
