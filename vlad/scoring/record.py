"""What scores depend on, as run.json and calibrations hold it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vlad import __version__
from vlad.heads import Head
from vlad.images.masks import mask_files
from vlad.scoring.panel import Panel
from vlad.scoring.setup import Setup
from vlad.types import Sample

LENGTH = 16  # hexadecimal digits of a digest


def record_of(
    panel: Panel,
    setup: Setup,
    categories: Sequence[str | None],
    references: Mapping[str, str],
) -> dict[str, object]:
    """Settings that the scores of a panel depend on.

    Args:
        categories: what the images show; None for those that do not say it.
        references: name -> digest of the images that its heads were shown.
    """
    return {
        "vlad": __version__,
        "backbone": panel.backbone.info.name,
        "weights": panel.backbone.fingerprint[:LENGTH],
        "dtype": panel.backbone.precision,
        "runtime": panel.backbone.runtime,
        "image_size": {n: panel.extractor.size(spec) for n, spec in panel.specs.items()},
        "banks": {name: bank.name for name, bank in panel.banks.items()},
        "prompts": {
            name: {c or "": bank.expand(c or bank.noun).key[:LENGTH] for c in categories}
            for name, bank in panel.banks.items()
        }
        | {name: {"": own} for name, head in panel.heads.items() if (own := asked_by(head))},
        # an adapter is told by its content below, wherever it lies
        "params": {
            name: {k: v for k, v in vars(head).items() if k != "adapter" and not k.endswith("_")}
            for name, head in panel.heads.items()
        },
        "protocol": {name: panel.inside.protocol(name) for name in panel.heads},
        "adapters": {
            name: {"name": head.adapter_.name, "sha256": head.adapter_.sha256}
            for name, head in panel.heads.items()
            if head.adapter_
        },
        **(panel.guidance.settings if panel.guidance else {}),
        "bits": setup.bits,
        **({"roi": panel.inside.region.digest} if panel.inside.region else {}),
        "references": dict(references),
        **setup.tiling.settings,
    }


def asked_by(head: Head) -> str:
    """Hash of what a head asks a model of its own, "" if nothing; it changes as its file does."""
    return getattr(head, "asked", "")


def digest_of(path: str | os.PathLike[str]) -> str:
    """The digest of the content of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:LENGTH]


def digests(samples: Iterable[Sample]) -> dict[str, str]:
    """Path of each image -> digest of its file."""
    return {str(sample.path): digest_of(sample.path) for sample in samples}


def digests_of_known(samples: Iterable[Sample]) -> dict[str, str]:
    """Path of each image -> digest of it, its mask and its kind."""
    found = {}
    for sample in samples:
        digest = hashlib.sha256(f"{sample.defect}\0".encode())
        for file in (sample.path, *mask_files(sample.mask or sample.path)):
            digest.update(file.read_bytes())
        found[str(sample.path)] = digest.hexdigest()[:LENGTH]
    return found
