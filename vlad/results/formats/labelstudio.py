"""Label Studio: tasks with regions and verdict as predictions, and the labelling interface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from vlad.results.formats.findings import Finding, Findings
from vlad.results.regions import Region
from vlad.system.files import atomic_write
from vlad.system.text import encode

LOCAL_FILES = "/data/local-files/?d="  # where Label Studio serves its document root
VERDICTS = ("normal", "anomalous")


def write(found: Findings, out: Path, url_prefix: str | None = None) -> None:
    """Write tasks.json and config.xml.

    Args:
        url_prefix: what stands before the names of images in their addresses; None is for local
            files whose document root is the parent of `found.folder`.

    Raises:
        OutputError: a file cannot be written.
    """
    prefix = f"{LOCAL_FILES}{quote(found.folder.name)}/" if url_prefix is None else url_prefix
    tasks = [_task(found, image, prefix) for image in found.images]
    atomic_write(out / "tasks.json", encode(json.dumps(tasks, ensure_ascii=False) + "\n"))
    labels = "".join(f"    <Label value={quoteattr(kind)}/>\n" for kind in found.kinds)
    choices = "".join(f'    <Choice value="{verdict}"/>\n' for verdict in VERDICTS)
    view = (
        '<View>\n  <Image name="image" value="$image" zoom="true" zoomControl="true"/>\n'
        f'  <PolygonLabels name="regions" toName="image">\n{labels}  </PolygonLabels>\n'
        f'  <Choices name="verdict" toName="image">\n{choices}  </Choices>\n</View>\n'
    )
    atomic_write(out / "config.xml", encode(view))


def _task(found: Findings, image: Finding, prefix: str) -> dict[str, Any]:
    results = []
    for number, region in enumerate(image.regions, start=1):
        for part, outline in enumerate(region.outlines, start=1):
            results.append(_polygon(f"region-{number}-{part}", image, region, outline))
    if image.verdict in VERDICTS:  # one that the run abstains from is left to the person
        results.append(
            {
                "id": "verdict",
                "type": "choices",
                "from_name": "verdict",
                "to_name": "image",
                "value": {"choices": [image.verdict]},
            }
        )
    return {
        "data": {
            "image": prefix + quote(image.name),
            "name": image.name,
            "score": image.score,
            "scores": dict(image.scores),
            "verdict": image.verdict,
        },
        "predictions": [{"model_version": f"vlad {found.judge}", "result": results}],
    }


def _polygon(name: str, image: Finding, region: Region, outline: Any) -> dict[str, Any]:
    """An outline in percent of the image."""
    width, height = image.size
    corners = [[round(100 * x / width, 4), round(100 * y / height, 4)] for x, y in outline]
    return {
        "id": name,
        "type": "polygonlabels",
        "from_name": "regions",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"points": corners, "closed": True, "polygonlabels": [image.kind]},
        "score": region.score,
    }
