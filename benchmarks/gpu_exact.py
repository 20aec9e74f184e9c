"""Every head's maps and scores on a device against those on the CPU."""

from __future__ import annotations

import copy
import traceback

import torch
from gpu_setup import FAILED, Row, Rows, Setup, photos, said

from vlad.backbones import load_backbone
from vlad.backbones.backbone import Backbone
from vlad.errors import VladError
from vlad.heads import Head
from vlad.scoring.panel import Panel

LIMIT = 1e-3  # of the largest value, in float32
LEARN, SCORE = 4, 4  # images


def exactness(setup: Setup) -> Rows:
    """The largest deviation of each head's maps and scores, as a share of their largest value.

    Heads learn on the CPU, so that only scoring is compared; those that compare images with each
    other do it on each device. With vlad-tiny.
    """
    known = load_backbone("vlad-tiny", "cpu")
    placed = {
        dtype: setup.placed(known, getattr(torch, dtype)) for dtype in ("float32", "bfloat16")
    }
    images, normals = photos("test", SCORE), photos("train", LEARN)
    for name in setup.heads:
        try:
            head = setup.head(name, known)
            panel = Panel(known, {name: head}, batch_size=LEARN)
            if head.normals == "needed":
                panel.fit(normals)
            expected = scored(panel, name, images)
            found = {
                dtype: deviation(scored(moved(panel, name, on), name, images), expected)
                for dtype, on in placed.items()
            }
        except VladError as error:
            yield f"exactness: {name}", "not checked", "", str(error)
        except RuntimeError as error:  # of torch: the other heads are checked all the same
            traceback.print_exc()
            yield f"exactness: {name}", FAILED, "", said(error)
        else:
            yield exact(name, found, setup)
    yield setup.peak("exactness")


def exact(name: str, found: dict[str, float], setup: Setup) -> Row:
    """The row of a head; on the same CPU nothing is proven."""
    held = "" if found["float32"] <= LIMIT else f" ABOVE {LIMIT:g}"
    beside = f"bfloat16 {found['bfloat16']:.1e}{held}"
    return f"exactness: {name}", f"{found['float32']:.1e}", "of the largest", beside


def moved(panel: Panel, name: str, backbone: Backbone) -> Panel:
    """The same head, as it is, on another backbone of the same weights."""
    head: Head = copy.deepcopy(panel.heads[name]).to(backbone.device)
    other = Panel(backbone, {name: head})
    if head.fitted:
        other.specs[name] = other.specs[name].with_normals()
    return other


def scored(panel: Panel, name: str, images: list) -> list[torch.Tensor]:
    """(B,) scores and, of a head whose maps mark places, (B, H, W) maps, on the CPU."""
    pools: dict = {}
    found = panel.score([panel.prepare(image) for image in images], "hazelnut", pools)
    own = list(pools[name].scores()) if name in pools else [found[name]]
    parts = [[one.image_score for one in own]]
    parts += [[one.anomaly_map for one in own]] if panel.heads[name].places else []
    return [torch.cat(part).cpu() for part in parts]


def deviation(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """The larger one of scores and maps."""
    return max(
        ((now - was).abs().max() / was.abs().max()).item()
        for now, was in zip(found, expected, strict=True)
    )
