"""Heat maps of a whole run, drawn over its images on one scale for each head."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from vlad.errors import ImageError
from vlad.images.interest import RegionOfInterest
from vlad.images.resize import fit_within, resize_map
from vlad.report.heat import overlay, shared_scale
from vlad.results.folder import RunFolder
from vlad.results.maps import read_map
from vlad.system.files import atomic_write
from vlad.types import Sample

_SIDE = 8192  # of overlays, in pixels; a JPEG cannot have more than 65,535


def shared_scales(
    run: RunFolder,
    samples: Iterable[Sample],
    thresholds: Mapping[str, float] | None = None,
    region: RegionOfInterest | None = None,
) -> dict[str, tuple[float, float]]:
    """`shared_scale` of each head over the saved maps of a run -> head -> (low, high).

    Args:
        thresholds: head -> the value above which a pixel belongs to a region.
        region: the region of interest; pixels outside it would only shift the scale.
    """
    samples = list(samples)

    def values(path: Path) -> np.ndarray:
        found = read_map(path)
        return found if region is None else found[region.at(found.shape)]

    return {
        head: shared_scale(
            (values(found[head]) for found in map(run.maps, samples) if head in found),
            value_range,
            threshold=(thresholds or {}).get(head),
        )
        for head, value_range in run.heads.items()
    }


def write_overlays(
    run: RunFolder,
    samples: Iterable[Sample],
    scales: Mapping[str, tuple[float, float]],
    open_image: Callable[[Path], Image.Image],
    on_drawn: Callable[[Sample, tuple[int, int], dict[str, np.ndarray]], None] | None = None,
) -> None:
    """Draw the saved maps of a run over their images, as JPEG files of up to 8192 pixels a side.

    An image without maps, or one that can no longer be opened, gets none.

    Args:
        scales: from `shared_scales`.
        open_image: path -> upright image; raises ImageError.
        on_drawn: called with each image, its (width, height), and head -> (H, W) map.

    Raises:
        OutputError: a file cannot be written.
    """
    for sample in samples:
        paths = run.maps(sample)
        if not paths:
            continue
        try:
            image = open_image(sample.path)
        except ImageError:
            continue
        maps = {head: read_map(path) for head, path in paths.items()}
        if on_drawn is not None:
            on_drawn(sample, image.size, maps)
        for head, values in maps.items():
            values = resize_map(values, fit_within(values.shape[::-1], _SIDE))
            drawn = overlay(image, values, *scales[head])
            atomic_write(
                run.overlay_path(head, sample),
                partial(drawn.save, format="JPEG", quality=88),
            )
