"""Image features on disk, for heads whose backbone pass does not depend on learned tensors.

Values are stored in float16, which halves disk space and reading (11 GB instead of 22 for 1 000
images of ViT-L/14 at 518 pixels and four blocks) and keeps 11 bits, as do the methods' authors, who
extract under float16 autocast. New features are rounded too, so a training does not depend on what
was in the cache.
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
from vlad.scoring.featurecache import from_named, named
from vlad.system.files import cache_write
from vlad.types import Features, FeatureSpec

FORMAT = 2  # increase when the meaning of a stored entry changes
LARGEST = 65504.0  # float16's maximum


@dataclass(frozen=True)
class Cached:
    """One image's features and mask.

    Attributes:
        tensors: those of its features by name (`vlad.scoring.featurecache.named`), without the
            axis of the batch: "image" (D,), "patches.N" (h·w, C), ...; float16.
        mask: (S, S) bool, or None.
    """

    tensors: dict[str, torch.Tensor]
    mask: np.ndarray | None


class Cache:
    """A folder of cached features of one backbone pass.

    Args:
        folder: created on the first write.
        extractor, spec: the source of the features.
        reading: other settings that the pixels depend on.
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
        """An image's cached features, or None; a broken file counts as none."""
        try:
            tensors = load_file(self._path(key))
            packed = tensors.pop("mask").numpy()
            if len(packed) == 0:
                return Cached(tensors, None)
            mask = np.unpackbits(packed, count=self.side**2).reshape(self.side, self.side)
            return Cached(tensors, mask.astype(bool))
        except Exception:  # any broken entry is recomputed
            return None

    def write(self, key: str, found: Cached) -> None:
        """Store an image's features; if the cache is not writable, warn once and go on."""
        packed = np.empty(0, np.uint8) if found.mask is None else np.packbits(found.mask)
        content = save(found.tensors | {"mask": torch.from_numpy(packed)})
        try:
            cache_write(self._path(key), content)
        except OSError as error:
            if self.writable:
                warnings.warn(
                    f"Cannot cache features in {self.folder} ({error.strerror}); every epoch "
                    "recomputes them.",
                    stacklevel=2,
                )
            self.writable = False

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"


# what a spec's tensors depend on besides the backbone
PASS = (
    *("layers", "patch_output", "stream", "image", "image_ln_post", "pos_embed", "resize"),
    *("cls", "further", "views", "pyramid"),
)


def rounded(features: Features) -> list[dict[str, torch.Tensor]]:
    """The tensors of each image as stored, on the CPU; larger values become 65504."""
    kept = {n: x.clamp(-LARGEST, LARGEST).half().cpu() for n, x in named(features)}
    count = len(next(iter(kept.values())))
    return [{n: x[i].clone() for n, x in kept.items()} for i in range(count)]


def together(
    parts: list[dict[str, torch.Tensor]],
    spec: FeatureSpec,
    grid: tuple[int, int],
    size: tuple[int, int],
    device: torch.device,
) -> Features:
    """One batch of cached images, in float32."""
    names = list(parts[0])
    stacked = {n: torch.stack([part[n] for part in parts]).to(device).float() for n in names}
    return from_named(stacked, spec, grid, size)
