"""How images are read and scored: one value for options, Python, run.json and detector.json."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vlad.backbones import DEFAULT, describe_remote, load_backbone
from vlad.errors import InputError
from vlad.images import DEFAULT_MAX_PIXELS, check_reading, read_image
from vlad.images.interest import Interest, RegionOfInterest, region_of
from vlad.images.tiles import Tiling
from vlad.system.numbers import check_count

if TYPE_CHECKING:
    from PIL import Image

    from vlad.backbones.backbone import Backbone
    from vlad.heads import Head
    from vlad.prompts import PromptBank
    from vlad.scoring.panel import Panel


@dataclass(frozen=True)
class Setup:
    """How images are read and scored.

    Attributes:
        backbone: name, file or folder (see `vlad.backbones`).
        device: where the backbone computes: "auto", "cpu", "cuda", "cuda:1", "mps".
        dtype: its numeric precision: "float32", "bfloat16", "float16", or "int8" in ONNX Runtime.
        runtime: what computes its passes (see `vlad.backbones.runtimes`).
        image_size: pixels a side of its input; None is its own.
        tile: pixels a side of the tiles that large images are cut into; None leaves images whole.
        overlap: smallest fraction of a tile that neighbours share.
        batch_size: images, or tiles, in one pass.
        max_pixels: larger images are refused before they are decoded.
        bits: significant bits of 16-bit images.
        bank: prompt bank, by name, by TOML file or as it is, for every head that reads text; None
            is each head's own.
        cache: folder in which features are stored for later commands; None stores none.
        guide: prompt bank, given in the same ways; all heads compare features only by what its
            normal and anomalous sentences differ in (see `vlad.scoring.guidance`).
        ignore: prompt bank; all heads compare features without what its sentences differ in.
        directions: the main directions that `guide` and `ignore` use of theirs; None is all.
        roi: the region of interest, outside which nothing counts: a mask image or JSON file (see
            `vlad.images.interest.read_region`); None is the whole image.
        roi_ignore: a part in which nothing counts, given in the same ways.

    Raises:
        InputError: a value out of its range.
    """

    backbone: str = DEFAULT
    device: str = "auto"
    dtype: str = "float32"
    runtime: str = "torch"
    image_size: int | None = None
    tile: int | None = None
    overlap: float = Tiling.overlap
    batch_size: int = 8
    max_pixels: int = DEFAULT_MAX_PIXELS
    bits: int = 16
    bank: str | PromptBank | None = None
    cache: str | None = None
    guide: str | PromptBank | None = None
    ignore: str | PromptBank | None = None
    directions: int | None = None
    roi: Interest | None = None
    roi_ignore: Interest | None = None

    def __post_init__(self) -> None:
        check_count("batch_size", self.batch_size, 1)
        check_reading(self.max_pixels, self.bits)
        if self.image_size is not None:
            check_count("image_size", self.image_size, 1)
        if self.directions is not None:
            check_count("directions", self.directions, 1)
            if self.guide is None and self.ignore is None:
                raise InputError(
                    "`directions` applies to `guide` and `ignore`; give one of them, or leave it "
                    "out."
                )
        self.tiling  # noqa: B018  (checks tile and overlap)

    @property
    def tiling(self) -> Tiling:
        """How images are cut."""
        return Tiling(self.tile, self.overlap)

    @property
    def region(self) -> RegionOfInterest | None:
        """The region of interest, read, without what is ignored.

        Raises:
            InputError: as `vlad.images.interest.region_of`.
        """
        return region_of(self.roi, self.roi_ignore, self.max_pixels)

    def with_region(self) -> Setup:
        """The settings with the region of interest read."""
        return replace(self, roi=self.region, roi_ignore=None)

    def load_backbone(self, heads: Mapping[str, Head] | None = None) -> Backbone:
        """The backbone, ready to compute.

        Args:
            heads: name -> head; one that cannot use the backbone is refused before a download.

        Raises:
            BackboneError, GraphError: as `vlad.backbones.load_backbone`.
            VladError: as `vlad.scoring.panel.fitting_specs`.
        """
        if heads and (info := describe_remote(self.backbone)):
            from vlad.scoring.panel import fitting_specs  # brings in torch

            fitting_specs(heads, info, self.image_size)
        return load_backbone(self.backbone, self.device, self.dtype, self.runtime)

    def open_image(self, path: str | os.PathLike[str]) -> Image.Image:
        """An image file as upright 8-bit RGB.

        Raises:
            ImageError: as `vlad.images.read_image`.
        """
        return read_image(path, max_pixels=self.max_pixels, bits=self.bits)

    def panel(self, backbone: Backbone, heads: Mapping[str, Head]) -> Panel:
        """Heads that score from shared features.

        Args:
            backbone: from `load_backbone`.
            heads: name -> head.

        Raises:
            VladError: as `vlad.scoring.panel.Panel`.
            InputError: as `vlad.images.interest.region_of`.
        """
        from vlad.scoring.panel import Panel  # brings in torch

        return Panel(
            backbone,
            heads,
            bank=self.bank,
            image_size=self.image_size,
            batch_size=self.batch_size,
            tiling=self.tiling,
            cache=self.cache,
            guide=self.guide,
            ignore=self.ignore,
            directions=self.directions,
            region=self.region,
        )
