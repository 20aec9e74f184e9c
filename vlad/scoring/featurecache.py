"""Features on disk: a backbone pass over the same pixels is run once, by whatever command."""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save

from vlad.backbones.backbone import Backbone
from vlad.scoring.extractor import Extractor, Pixels
from vlad.system.files import cache_write
from vlad.types import Features, FeatureSpec

FORMAT = 2  # increase when the meaning of a stored entry changes


class CachedExtractor(Extractor):
    """An extractor that stores the features of each image and reads them instead of a pass.

    Features are stored in float32, so scores are those of a pass. Features of passes with prompt
    tokens for each image or with crops, pixels, and statistics of pixels are not stored.

    Args:
        backbone, image_size: as in `Extractor`.
        folder: where; created with the first entry.
    """

    def __init__(self, backbone: Backbone, image_size: int | None, folder: str | Path):
        super().__init__(backbone, image_size)
        self.folder = Path(folder)
        self.writable = True

    def extract(
        self, prepared: Sequence[dict[Pixels, np.ndarray]], specs: Sequence[FeatureSpec]
    ) -> list[Features]:
        """As `Extractor.extract`; only images that lack an entry go through the backbone."""
        self.check_prepared(prepared, specs)
        if any(spec.prompts or spec.crops for spec in specs):
            return super().extract(prepared, specs)
        if any(spec.without_backbone for spec in specs):  # computed as fast as read
            others = iter(self.extract(prepared, [s for s in specs if not s.without_backbone]))
            return [
                self.without_backbone(s, prepared) if s.without_backbone else next(others)
                for s in specs
            ]
        files = [[self._file(pixels, spec) for spec in specs] for pixels in prepared]
        found = [
            [_read(file, spec) for file, spec in zip(row, specs, strict=True)] for row in files
        ]
        missing = [i for i, row in enumerate(found) if None in row]
        if missing:
            fresh = super().extract([prepared[i] for i in missing], specs)
            for place, i in enumerate(missing):
                found[i] = [features.at(place) for features in fresh]
                for file, features in zip(files[i], fresh, strict=True):
                    self._write(file, features.at(place))
        rows = [[one for one in row if one is not None] for row in found]
        batches = (Features.cat(list(column)) for column in zip(*rows, strict=True))
        return [
            replace(features.to(self.backbone.device), weights=self.weights(spec))
            for features, spec in zip(batches, specs, strict=True)
        ]

    def _file(self, pixels: dict[Pixels, np.ndarray], spec: FeatureSpec) -> Path:
        key = self.pass_of(spec)
        what = [
            FORMAT,
            self.backbone.fingerprint,
            self.backbone.precision,
            self.backbone.runtime,
            key.activation,
            key.pos_embed,
            *(str(getattr(spec, name)) for name in PARTS),
        ]
        digest = hashlib.sha256(json.dumps(what).encode())
        digest.update(np.ascontiguousarray(pixels[key.pixels]).data)
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"

    def _write(self, file: Path, features: Features) -> None:
        tensors = dict(named(features))
        about = {"grid": features.grid, "size": features.size, "bfloat16": features.bfloat16}
        kept = {name: x.detach().cpu().contiguous() for name, x in tensors.items()}
        try:
            cache_write(file, save(kept, {"about": json.dumps(about)}))
        except OSError as error:
            if self.writable:
                warnings.warn(
                    f"Features cannot be stored in {self.folder} ({error.strerror}); they are "
                    "computed each time.",
                    stacklevel=2,
                )
            self.writable = False


# the fields of a spec that its features depend on, apart from those of its pass
PARTS = (
    *("layers", "patch_output", "stream", "windows", "image", "image_ln_post"),
    *("cls", "further", "views", "pyramid"),
)


def named(features: Features, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of features by name, those of further tokens too."""
    yield from ((f"{prefix}patches.{i}", x) for i, x in enumerate(features.patches.values()))
    yield from ((f"{prefix}windows.{n}", x) for n, x in features.windows.items())
    yield from ((f"{prefix}cls.{n}", x) for n, x in features.cls.items())
    yield from ((f"{prefix}pyramid.{i}", x) for i, x in enumerate(features.pyramid))
    if features.image is not None:
        yield f"{prefix}image", features.image
    if features.views is not None:
        yield f"{prefix}views", features.views
    for number, further in enumerate(features.further):
        yield from named(further, f"{prefix}further.{number}.")


def _read(file: Path, spec: FeatureSpec) -> Features | None:
    """The features of one image; None if there is no entry, or a broken one."""
    with contextlib.suppress(Exception), safe_open(file, "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        about = json.loads(opened.metadata()["about"])
        size, grid = tuple(about["size"]), tuple(about["grid"])
        return from_named(tensors, spec, grid, size, about["bfloat16"])
    return None


def from_named(
    tensors: Mapping[str, torch.Tensor],
    spec: FeatureSpec,
    grid: tuple[int, int],
    size: tuple[int, int],
    bfloat16: bool = False,
    prefix: str = "",
) -> Features:
    """The features of a spec whose tensors `named` gave."""
    return Features(
        tensors.get(f"{prefix}image"),
        {layer: tensors[f"{prefix}patches.{i}"] for i, layer in enumerate(spec.layers)},
        grid,
        size,
        {side: tensors[f"{prefix}windows.{side}"] for side in spec.windows},
        bfloat16=bfloat16,
        cls={block: tensors[f"{prefix}cls.{block}"] for block in spec.cls},
        further=tuple(
            from_named(tensors, part, grid, size, bfloat16, f"{prefix}further.{i}.")
            for i, part in enumerate(spec.further)
        ),
        views=tensors.get(f"{prefix}views"),
        pyramid=tuple(tensors[f"{prefix}pyramid.{i}"] for i in range(5 if spec.pyramid else 0)),
    )
