"""Which generator makes the most useful defects, as one backbone sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from vlad.backbones.backbone import Backbone
from vlad.heads.memory import Memory
from vlad.images import read_image
from vlad.scoring.extractor import Extractor
from vlad.synthetic.quality import Posterior, expected_anomaly_posterior
from vlad.types import Features

_MOST = 100  # normal images to compare with
_BATCH = 8


def rank(
    backbone: Backbone,
    references: Sequence[Path],
    held_out: Sequence[Path],
    groups: Mapping[str, Sequence[Path]],
) -> dict[str, Posterior]:
    """The expected anomaly posterior of groups of images, best group first.

    The detector is the head `memory`, which sees small defects: it is fitted on the reference
    images, and those held out show which scores are normal. The density is that of the mean patch
    token of its middle layer.

    Args:
        references: normal images; the first 100 are used.
        held_out: other normal images; the first 100 are used.
        groups: name -> synthetic anomalies.

    Raises:
        InputError: fewer than 7 references.
        ImageError: an image that cannot be read.
    """
    head = Memory()
    spec = head.spec(backbone.info)
    extractor = Extractor(backbone)
    middle = spec.layers[len(spec.layers) // 2]

    def features(paths: Iterable[Path]) -> Iterable[Features]:
        paths = iter(paths)
        while batch := list(islice(paths, _BATCH)):
            prepared = [extractor.prepare(read_image(path), [spec]) for path in batch]
            yield from extractor.extract(prepared, [spec])

    def embed(parts: Iterable[Features]) -> np.ndarray:
        return np.concatenate([f.patches[middle].mean(dim=1).cpu().numpy() for f in parts])

    def scores(parts: Iterable[Features]) -> np.ndarray:
        return np.concatenate([head.score(f).numpy().image_score for f in parts])

    known = list(features(references[:_MOST]))
    normals = embed(known)
    head.fit(Features.cat(known))
    usual = scores(features(held_out[:_MOST]))
    found = {}
    for name, paths in groups.items():
        parts = list(features(paths))
        found[name] = expected_anomaly_posterior(normals, embed(parts), (usual, scores(parts)))
    return dict(sorted(found.items(), key=lambda item: -item[1].expected.mean()))
