"""Pixels to features: one tower pass for every set of heads that can share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from vlad.backbones.tower import Tower
from vlad.backbones.vit import Taps
from vlad.images import to_pixels
from vlad.types import Activation, Features, FeatureSpec, PosEmbedResize


@dataclass(frozen=True)
class Pass:
    """What makes two passes of the tower differ."""

    size: int
    resize: str
    activation: Activation | None
    pos_embed: PosEmbedResize


class Extractor:
    """Turns pictures into the features that heads ask for, running the tower as seldom as it can.

    Args:
        tower: the frozen tower.
        image_size: pixels a side of the input for every spec that names none; None is the
            tower's own.
    """

    def __init__(self, tower: Tower, image_size: int | None = None):
        self.tower = tower
        self.image_size = image_size

    def check(self, spec: FeatureSpec) -> None:
        """Whether the tower can give what a spec asks for, before any picture is read.

        Raises:
            BackboneError: a layer the tower does not have, a size that patches do not fill, or a
                window larger than the grid.
        """
        side = self._pass(spec).size
        taps = [(spec.stream, layer) for layer in spec.layers]
        self.tower.vision.check((side, side), taps, spec.windows)

    def prepare(self, image: Image.Image, specs: Sequence[FeatureSpec]) -> dict[Pass, np.ndarray]:
        """The (3, S, S) pixels that each pass needs; safe to call from several threads."""
        tower = self.tower
        return {
            key: to_pixels(image, key.size, tower.mean, tower.std, resize=key.resize)
            for key in {self._pass(spec) for spec in specs}
        }

    @torch.no_grad()
    def extract(
        self, prepared: Sequence[dict[Pass, np.ndarray]], specs: Sequence[FeatureSpec]
    ) -> list[Features]:
        """Features of B prepared pictures, one `Features` a spec, in float32."""
        taps = {}
        for key in dict.fromkeys(self._pass(spec) for spec in specs):
            sharing = [spec for spec in specs if self._pass(spec) == key]
            taps[key] = self._run(key, np.stack([pixels[key] for pixels in prepared]), sharing)
        return [self._features(spec, taps[self._pass(spec)]) for spec in specs]

    def _pass(self, spec: FeatureSpec) -> Pass:
        size = spec.image_size or self.image_size or self.tower.info.image_size
        return Pass(size, spec.resize, spec.activation, spec.pos_embed)

    def _run(self, key: Pass, pixels: np.ndarray, specs: list[FeatureSpec]) -> Taps:
        tower = self.tower
        return tower.vision(
            torch.from_numpy(pixels).to(tower.device, tower.dtype),
            taps={(spec.stream, layer) for spec in specs for layer in spec.layers},
            windows=sorted({side for spec in specs for side in spec.windows}),
            image=any(spec.image for spec in specs),
            activation=key.activation,
            pos_embed=key.pos_embed,
        )

    def _features(self, spec: FeatureSpec, taps: Taps) -> Features:
        vision = self.tower.vision
        outputs = {
            "raw": lambda x: x,
            "ln_post": vision.ln_post,
            "ln_post_proj": lambda x: vision.proj(vision.ln_post(x)),
            "proj": vision.proj,
        }
        output = outputs[spec.patch_output]
        image = vision.embed_image(taps.last, spec.image_ln_post).float() if spec.image else None
        side = self._pass(spec).size
        return Features(
            image=image,
            patches={n: output(taps.patches[spec.stream, n]).float() for n in spec.layers},
            grid=taps.grid,
            size=(side, side),
            windows={k: taps.windows[k].float() for k in spec.windows},
        )
