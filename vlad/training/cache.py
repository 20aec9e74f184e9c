"""Features of images on disk, for heads whose backbone pass does not depend on what is learned.

Values are kept in float16: half the disk and half the reading (11 GB instead of 22 for 1 000
images of ViT-L/14 at 518 pixels and four blocks), with the 11 bits that the methods' authors
have too, who extract under float16 autocast. Fresh features are rounded alike, so that a training
does not depend on what was in the cache.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save

from vlad.scoring.extractor import Extractor
from vlad.system.files import cache_write
from vlad.types import Features, FeatureSpec

FORMAT = 1  # raise it when the meaning of a stored entry changes
LARGEST = 65504.0  # of float16


@dataclass(frozen=True)
class Cached:
    """One image's features and mask.

    Attributes:
        tensors: "image" (D,), where it is needed, and "patches.N" (h·w, C), float16.
        mask: (S, S) bool, or None where there is none.
    """

    tensors: dict[str, torch.Tensor]
    mask: np.ndarray | None


class Cache:
    """A folder of cached features of one backbone pass.

    Args:
        folder: where; made when something is written.
        extractor, spec: whose features.
        reading: what else the pixels depend on.
    """

    def __init__(self, folder: Path, extractor: Extractor, spec: FeatureSpec, reading: object = ""):
        backbone = extractor.backbone
        what = [
            FORMAT,
            backbone.fingerprint,
            str(backbone.dtype),
            extractor.size(spec),
            backbone.info.replaced(spec.activation),
            *(str(getattr(spec, field)) for field in PASS),
            str(reading),
        ]
        self.folder = folder / hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
        self.side = extractor.size(spec)
        self.writable = True

    def read(self, key: str) -> Cached | None:
        """What is known of an image, or None; a broken file counts as none."""
        try:
            tensors = load_file(self._path(key))
            packed = tensors.pop("mask").numpy()
            if len(packed) == 0:
                return Cached(tensors, None)
            mask = np.unpackbits(packed, count=self.side**2).reshape(self.side, self.side)
            return Cached(tensors, mask.astype(bool))
        except Exception:  # whatever is wrong with it, it is made anew
            return None

    def write(self, key: str, found: Cached) -> None:
        """Keeps an image's features; a cache that cannot be written costs time, not the run."""
        packed = np.empty(0, np.uint8) if found.mask is None else np.packbits(found.mask)
        content = save(found.tensors | {"mask": torch.from_numpy(packed)})
        try:
            cache_write(self._path(key), content)
        except OSError as error:
            if self.writable:
                warnings.warn(
                    f"Features cannot be kept in {self.folder} ({error.strerror}); every epoch "
                    "computes them anew.",
                    stacklevel=2,
                )
            self.writable = False

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"


# what a spec's tensors depend on, apart from the backbone
PASS = ("layers", "patch_output", "stream", "image", "image_ln_post", "pos_embed", "resize")


def rounded(features: Features) -> list[dict[str, torch.Tensor]]:
    """The tensors of each image as they are kept, on the CPU; too large values become 65504."""
    tensors = {f"patches.{n}": x for n, x in features.patches.items()}
    if features.image is not None:
        tensors["image"] = features.image
    kept = {n: x.clamp(-LARGEST, LARGEST).half().cpu() for n, x in tensors.items()}
    count = len(next(iter(kept.values())))
    return [{n: x[i].clone() for n, x in kept.items()} for i in range(count)]


def together(
    parts: list[dict[str, torch.Tensor]],
    grid: tuple[int, int],
    size: tuple[int, int],
    device: torch.device,
) -> Features:
    """One batch of kept images, in float32."""
    names = list(parts[0])
    stacked = {n: torch.stack([part[n] for part in parts]).to(device).float() for n in names}
    image = stacked.pop("image", None)
    patches = {int(name.removeprefix("patches.")): x for name, x in stacked.items()}
    return Features(image=image, patches=dict(sorted(patches.items())), grid=grid, size=size)
