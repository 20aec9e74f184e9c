"""One image, one head: regions, shares, reasons and crops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image

from vlad.errors import HeadError, ImageError
from vlad.heads import Head
from vlad.images import read_image
from vlad.prompts import Prompts
from vlad.reasons.explanation import ExplainedRegion, Explanation
from vlad.reasons.references import Learned, References
from vlad.reasons.regions import Found, find, whole
from vlad.reasons.states import by_state
from vlad.reasons.words import sentence
from vlad.results.regions import Region
from vlad.scoring.panel import Panel
from vlad.scoring.prepared import prepare
from vlad.system.torch_state import own_state
from vlad.types import Box
from vlad.types.reasons import NearestPatch, Reason


@own_state()
@torch.no_grad()
def explain(
    panel: Panel,
    image: Image.Image,
    *,
    name: str = "image",
    head: str | None = None,
    category: str | None = None,
    threshold: float | None = None,
    learned: Sequence[Learned] | None = None,
    open_image: Callable[[str], Image.Image] = read_image,
    boxes: tuple[Box, ...] = (),
) -> Explanation:
    """Explain the score of one image; the score is that of `Detector.score`.

    Args:
        panel: its head, fitted if it has to be.
        image: RGB, upright.
        name: of the image.
        head: which head of the panel; None is its only one.
        category: what the image shows, for a head that reads text.
        threshold: of maps, above which regions are; None takes a level of the map itself.
        learned: (name, digest) of each normal image that the head was shown, in order; None if that
            is not known.
        open_image: path -> RGB image, to show reference images.
        boxes: what a detector found in it.

    Raises:
        HeadError: a head that is not fitted, that needs a category, that scores images jointly, or
            several of them without `head`; or images are cut into tiles.
        ImageError: a score that is not finite, or an image that does not fit the region of
            interest.
    """
    which = _only(panel, head)
    panel = panel.only([which])
    own = panel.heads[which]
    prepared = prepare(panel, image, name)
    (pixels,) = prepared.tiles
    features, text = panel.inputs(which, pixels, category, boxes)
    scores = own.score(features, text)
    if why := "".join(scores.errors):
        raise ImageError(
            f"{name}: no score of {which} ({why}); score it again, or choose another head."
        )
    found, maps = panel.inside(
        {which: float(scores.image_score[0])}, {which: np.asarray(scores.numpy().anomaly_map[0])}
    )
    score, anomaly_map = found[which], maps[which]
    if not np.isfinite(anomaly_map).all() or not np.isfinite(score):
        raise ImageError(f"{name}: {which} gave no finite score; remove it or choose another head.")
    if getattr(own, "places", True):
        areas = find(anomaly_map, features.grid, image.size, threshold)
    else:
        areas = whole(float(anomaly_map.max()), features.grid, image.size)
    cells = areas.cells.to(next(iter(features.patches.values()), areas.cells).device)
    said, without = [()] * len(cells), [None] * len(cells)
    if len(cells):
        said = optional(own, "reasons")(features, text, cells)
        if not panel.inside.region:
            changed = optional(own, "without")(features, text, cells)
            without = without if changed is None else changed.tolist()
    shares, rest, why = _shares(panel, which, features, text, areas, score)
    references = References(learned, open_image, own.normal_views, features.grid)
    prompts = panel.prompts(which, category)
    regions = [
        replace(
            _region(image, *where, one, references, prompts),
            share=share,
            without=other,
        )
        for where, one, share, other in zip(
            zip(areas.regions, areas.places, strict=True), said, shares, without, strict=True
        )
    ]
    return Explanation(
        name=name,
        head=which,
        image_score=score,
        regions=tuple(regions),
        sums=rest is not None,
        note=f"{areas.note} {why}".strip(),
        level=areas.level,
        rest=rest,
        size=image.size,
        image=image,
        anomaly_map=anomaly_map,
    )


def optional(head: Head, part: str) -> Callable[..., Any]:
    """A method of a head, or what every head has for it: heads of others may lack it."""
    return getattr(head, part, None) or partial(getattr(Head, part), head)


def _only(panel: Panel, head: str | None) -> str:
    """The name of the head to explain."""
    if head is None and len(panel.heads) > 1:
        raise HeadError(
            f"One head is explained at a time, but there are {', '.join(panel.heads)}; name one."
        )
    which = head or next(iter(panel.heads))
    if which in panel.transductive:
        raise HeadError(
            f"Head {which} scores images jointly, so one image alone has no reasons; fit it on a "
            "pool of images first."
        )
    if panel.tiling.tile is not None:
        raise HeadError(
            "Images cut into tiles are not explained, since each tile has a score of its own; "
            "leave out `tile`, or explain the tile as an image."
        )
    return which


def _shares(
    panel: Panel, which: str, features, text, areas: Found, score: float
) -> tuple[list[float | None], float | None, str]:
    """Each region's share of the image score, that of the rest, and why there are none."""
    missing: list[float | None] = [None] * len(areas.regions)
    if panel.inside.region:
        return missing, None, "The image score is the maximum of the map, so no region has a share."
    parts = optional(panel.heads[which], "contributions")(features, text)
    if parts is None:
        return (
            missing,
            None,
            f"The score of {which} is no sum over patches, so it has no shares.",
        )
    if score == 0:
        return missing, None, "The image score is 0, so there are no shares."
    parts, taken = parts.cpu() / score, torch.zeros(areas.cells.shape[1], dtype=torch.bool)
    shares: list[float | None] = []
    for cells in areas.cells:  # a cell that two regions touch counts for the larger one
        shares.append(float(parts[cells & ~taken].sum()))
        taken |= cells
    return shares, float(parts[~taken].sum()), ""


def _region(
    image: Image.Image,
    region: Region,
    place: str,
    reasons: tuple[Reason, ...],
    references: References,
    prompts: Prompts | None,
) -> ExplainedRegion:
    reasons = by_state(reasons, prompts)
    made = ExplainedRegion(
        place=place,
        box=region.box,
        area=region.area / (image.size[0] * image.size[1]),
        score=region.score,
        reasons=reasons,
        texts=tuple(sentence(reason, references, prompts) for reason in reasons),
        outlines=region.outlines,
    )
    nearest = next((x for x in reasons if isinstance(x, NearestPatch)), None)
    if nearest is None:
        return made
    crop, other, note = references.crops(image, region.box, nearest)
    return replace(
        made,
        reference=references.name(nearest),
        crop=crop,
        reference_crop=other,
        reference_note=note,
    )
