"""FiftyOne: a dataset of its own format, which stands for itself without a version of FiftyOne."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vlad.results.formats.findings import Finding, Findings
from vlad.results.regions import Region
from vlad.system.files import atomic_write
from vlad.system.text import encode


def write(found: Findings, out: Path) -> None:
    """Write metadata.json and samples.json for `fiftyone.types.FiftyOneDataset`.

    Without a version in metadata.json, FiftyOne reads the form that it wrote before 0.8, which
    needs no schema. Fields: `verdict` (Classification), `score`, `scores`, `regions` (Polylines)
    and `boxes` (Detections).

    Raises:
        OutputError: a file cannot be written.
    """
    info = {"source": "vlad", "verdicts": found.judge, "regions": found.head}
    metadata = {"media_type": "image", "info": {**info, "threshold": found.threshold}}
    # images that are not beside the file are found by their absolute paths
    samples = [_sample(image, "" if found.placed else f"{found.folder}/") for image in found.images]
    for name, content in {"metadata": metadata, "samples": {"samples": samples}}.items():
        text = json.dumps(content, ensure_ascii=False) + "\n"
        atomic_write(out / f"{name}.json", encode(text))


def _sample(image: Finding, folder: str) -> dict[str, Any]:
    width, height = image.size
    return {
        "filepath": folder + image.name,
        "tags": [],
        "metadata": {"_cls": "ImageMetadata", "width": width, "height": height},
        "verdict": {"_cls": "Classification", "label": image.verdict},
        "score": image.score,
        "scores": dict(image.scores),
        "regions": {
            "_cls": "Polylines",
            "polylines": [_polyline(image, region) for region in image.regions],
        },
        "boxes": {
            "_cls": "Detections",
            "detections": [_detection(image, region) for region in image.regions],
        },
    }


def _polyline(image: Finding, region: Region) -> dict[str, Any]:
    width, height = image.size
    return {
        "_cls": "Polyline",
        "label": image.kind,
        "points": [[[x / width, y / height] for x, y in outline] for outline in region.outlines],
        "confidence": region.score,
        "closed": True,
        "filled": True,
    }


def _detection(image: Finding, region: Region) -> dict[str, Any]:
    width, height = image.size
    x, y, across, down = region.box
    return {
        "_cls": "Detection",
        "label": image.kind,
        "bounding_box": [x / width, y / height, across / width, down / height],
        "confidence": region.score,
    }
