"""Marked defects, shown to the heads that remember them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vlad.errors import HeadError, InputError
from vlad.heads.labelled import Labelled
from vlad.images import read_mask
from vlad.images.masks import check_fit
from vlad.scoring.panel import Panel
from vlad.system.torch_state import own_state
from vlad.types import Features, Sample


@own_state()
@torch.no_grad()
def fit_known(
    panel: Panel, samples: Sequence[Sample], open_image: Callable[[Path], Image.Image]
) -> None:
    """Show known defects to the heads of a panel that remember them, once they are fitted.

    Args:
        samples: images with mask and kind, as from `vlad.datasets.known.list_known`; they are
            cut into tiles as the panel cuts images.
        open_image: path -> upright RGB image.

    Raises:
        HeadError: no head remembers defects, or it is not fitted.
        InputError: an empty mask, or one that does not fit its image.
    """
    learning = _learning(panel)
    specs = [panel.specs[name] for name in learning]
    parts: dict[str, list[Features]] = {name: [] for name in learning}
    cover: list[torch.Tensor] = []
    kinds: list[str] = []
    for sample in samples:
        image = open_image(sample.path)
        for tile, mask in zip(
            panel.tiling.cut(image), _cut_mask(panel, sample, image), strict=True
        ):
            found = panel.extractor.extract([panel.extractor.prepare(tile, specs)], specs)
            for name, features in zip(learning, found, strict=True):
                parts[name].append(features)
            cover.append(_covered(mask, found[0].grid))
            kinds.append(sample.defect or "")
    for name, head in learning.items():
        features = Features.cat(parts[name])
        device = next(iter(features.patches.values())).device
        head.fit_known(features, torch.stack(cover).to(device), kinds)


@own_state()
@torch.no_grad()
def add_unmarked(panel: Panel, defects: Iterable[tuple[Image.Image, str]]) -> None:
    """Add defects without masks to those that the heads of a panel remember.

    Of each image, the patches that are least like normal images stand for the defect (see
    `Labelled.unlike_normal`).

    Args:
        defects: upright RGB images, each with the kind of its defect.

    Raises:
        HeadError: no head remembers defects, or it is not fitted.
    """
    learning = _learning(panel)
    specs = [panel.specs[name] for name in learning]
    for image, kind in defects:
        tiles = [panel.extractor.prepare(tile, specs) for tile in panel.tiling.cut(image)]
        found = [panel.extractor.extract([tile], specs) for tile in tiles]
        for place, head in enumerate(learning.values()):
            features = Features.cat([parts[place] for parts in found])
            before = head.memory_
            head.fit_known(features, head.unlike_normal(features).float(), [kind] * len(tiles))
            added = {name: x for name, x in head.memory_.items() if ":" in name}
            head.memory_ = head.merge(before, added)


def _learning(panel: Panel) -> dict[str, Labelled]:
    """The heads that remember defects."""
    learning = {name: head for name, head in panel.heads.items() if isinstance(head, Labelled)}
    if not learning:
        raise HeadError(
            f"No head here learns known defects ({', '.join(panel.heads)}); add the head "
            "labelled, or leave them out."
        )
    return learning


def _cut_mask(panel: Panel, sample: Sample, image: Image.Image) -> list[Image.Image]:
    assert sample.mask is not None  # the reader sees to it
    mask = read_mask(sample.mask)
    check_fit(mask, sample, image.size, InputError)
    if not mask.any():
        raise InputError(f"the mask {sample.mask} is empty; correct it, or remove its image.")
    drawn = Image.fromarray(mask.astype(np.float32)).resize(image.size, Image.Resampling.BOX)
    return list(panel.tiling.cut(drawn))


def _covered(mask: Image.Image, grid: tuple[int, int]) -> torch.Tensor:
    """(h·w,) part of each patch that a mask covers."""
    small = mask.resize(grid[::-1], Image.Resampling.BOX)
    return torch.from_numpy(np.array(small)).flatten()
