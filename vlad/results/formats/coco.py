"""COCO instances: one file with images, boxes, polygons, scores and verdicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vlad.results.coco import annotation
from vlad.results.formats.findings import Finding, Findings
from vlad.system.files import atomic_write
from vlad.system.text import encode


def write(found: Findings, out: Path) -> None:
    """Write annotations.json; images and annotations have a score of vlad beside COCO's fields.

    Raises:
        OutputError: it cannot be written.
    """
    numbers = {kind: number for number, kind in enumerate(found.kinds, start=1)}
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(found.images, start=1):
        for region in image.regions:
            own = annotation(image_id, numbers[image.kind], region)
            annotations.append({"id": len(annotations) + 1, **own})
    content = {
        "info": {
            "description": f"Regions of the anomaly maps of {found.head}, by vlad",
            "verdicts": found.judge,
            "threshold": found.threshold,
        },
        "images": [_image(number, image) for number, image in enumerate(found.images, start=1)],
        "annotations": annotations,
        "categories": [
            {"id": number, "name": kind, "supercategory": "anomaly"}
            for kind, number in numbers.items()
        ],
    }
    atomic_write(out / "annotations.json", encode(json.dumps(content, ensure_ascii=False) + "\n"))


def _image(number: int, image: Finding) -> dict[str, Any]:
    return {
        "id": number,
        "file_name": image.name,
        "width": image.size[0],
        "height": image.size[1],
        "score": image.score,
        "scores": dict(image.scores),
        "verdict": image.verdict,
    }
