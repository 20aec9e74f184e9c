"""A head's pass of the backbone and, if possible, the whole detector, as graphs in files."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from vlad import __version__
from vlad.backbones.runtimes import files
from vlad.backbones.runtimes.graph import PIXELS, BackboneGraph
from vlad.errors import GraphError, HeadError, OutputError
from vlad.heads import protocol
from vlad.scoring.panel import Panel
from vlad.system.files import cannot_write
from vlad.system.torch_state import own_state
from vlad.types import TextFeatures

FILE = "export.json"
# how far maps and scores may be from torch; relative to the largest if that is above 1
TOLERANCE = 1e-3
RESIZE = {
    "pil": "Pillow's {} on 8-bit RGB, to the input size whatever the shape",
    "pil_bilinear": "Pillow's bilinear on 8-bit RGB, to the input size whatever the shape",
    "float": "antialiased bicubic on float RGB in [0, 1], to the input size whatever the shape",
}


class DetectorGraph(files.Graph):
    """Pixels (1, 3, S, S) to image score (1,) and anomaly map (1, S, S), by one head of a panel.

    What the head remembers, learned and reads about the category is constant.
    """

    inputs = (PIXELS,)
    outputs = ("image_score", "anomaly_map")

    def __init__(self, panel: Panel, name: str, text: TextFeatures | None):
        super().__init__()
        self.backbone = backbone_graph(panel, name)
        self.head = panel.heads[name]
        self.extractor = panel.extractor
        self.spec = panel.specs[name]
        self.text = text

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        taps = self.backbone.unpack(self.backbone(pixels), pixels.shape[-2:])
        scores = self.head.score(self.extractor.features(self.spec, taps), self.text)
        assert isinstance(scores.image_score, torch.Tensor)
        assert isinstance(scores.anomaly_map, torch.Tensor)
        return scores.image_score, scores.anomaly_map


def backbone_graph(panel: Panel, name: str) -> BackboneGraph:
    """The backbone pass that a head needs, as a graph.

    Raises:
        HeadError: it reads no backbone, puts tokens made for each image into it, or needs several
            passes.
    """
    extractor, spec = panel.extractor, panel.specs[name]
    if spec.without_backbone:
        raise HeadError(
            f"Head {name} reads pixels without a backbone, so there is no graph to export; choose "
            "another head."
        )
    if spec.pyramid:
        raise HeadError(
            f"Head {name} reads maps of a convolutional network, which are not part of an exported "
            "graph; choose another head."
        )
    if spec.prompts:
        raise HeadError(
            f"Head {name} puts tokens made for each image into the backbone, so its pass is "
            "not a function of pixels alone; choose another head, or score with a `runtime`."
        )
    if spec.views:
        raise HeadError(
            f"Head {name} needs a pass for each of many views of an image, so there is no single "
            "graph to export; set views=false, or score with a `runtime`."
        )
    if spec.crops:
        raise HeadError(
            f"Head {name} reads each image in as many tiles as its size asks for, so there is no "
            "single graph to export; set crops=false, or score with a `runtime`."
        )
    return BackboneGraph(panel.backbone, **extractor.options(extractor.pass_of(spec), [spec]))


@own_state()
def export(
    panel: Panel,
    name: str,
    form,
    out: str | Path,
    images: Sequence[Image.Image],
    category: str | None = None,
) -> dict:
    """Write graphs of the backbone and, if the head judges one by one, of the detector.

    Args:
        name: of the head in the panel; fitted, if it has to be.
        form: a runtime with files (see `vlad.backbones.runtimes`), in float32.
        out: a new or empty folder.
        images: RGB, on which the graphs are compared with torch.

    Returns:
        the content of export.json, which says how to feed them.

    Raises:
        GraphError: the graph cannot be made, or deviates from torch; nothing is written.
        HeadError: a head without a graph, without its category, or not fitted.
        OutputError: the folder cannot be written to, or is not empty.
    """
    out = Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise OutputError(f"{out} is not an empty folder; choose another.")
    graphs: dict[str, files.Graph] = {"backbone": backbone_graph(panel, name)}
    if name not in panel.transductive:
        graphs["detector"] = DetectorGraph(panel, name, panel.text(name, category))
    ((size, _),) = {key for image in images[:1] for key in panel.prepare(image)}
    noise = files.examples([torch.empty(1, 3, size, size)])
    inputs = [torch.from_numpy(panel.prepare(x).popitem()[1])[None] for x in images]
    card = _card(panel, name, form, size, category)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, suffix=".part") as temporary:
            made = Path(temporary) / "export"
            made.mkdir()
            for kind, graph in graphs.items():
                run = files.trace(form, graph, noise, made / kind)
                files.check(form, graph, noise, run)
                outputs = [run([x.numpy()]) for x in inputs]
                shapes = [list(y.shape) for y in outputs[0]]
                card["files"][kind] = kind + form.suffix
                card["outputs"][kind] = dict(zip(graph.outputs, shapes, strict=True))
                card["deviation"][kind] = _deviation(graph, inputs, outputs)
            _check(card)
            (made / FILE).write_text(json.dumps(card, indent=1, default=str), encoding="utf-8")
            if out.exists():
                out.rmdir()
            os.rename(made, out)
    except OSError as error:
        raise cannot_write(out, error) from error
    return card


@torch.no_grad()
def _deviation(graph: files.Graph, inputs: Sequence, outputs: Sequence) -> dict[str, float]:
    """The largest deviation of each output from torch, over all images."""
    found = dict.fromkeys(graph.outputs, 0.0)
    for x, arrays in zip(inputs, outputs, strict=True):
        for name, expected, array in zip(graph.outputs, graph(x), arrays, strict=True):
            scale = max(1.0, expected.abs().max().item())
            off = (torch.from_numpy(array) - expected).abs().max().item() / scale
            found[name] = max(found[name], off)
    return found


def _check(card: dict) -> None:
    for kind, outputs in card["deviation"].items():
        for name, off in outputs.items():
            if not off <= TOLERANCE:
                raise GraphError(
                    f"{name} of the exported {kind} deviates from torch by {off:.2g}, more than "
                    f"{TOLERANCE:g}, so nothing was written; choose another format."
                )


def _card(panel: Panel, name: str, form, size: int, category: str | None) -> dict:
    backbone, head = panel.backbone, panel.heads[name]
    return {
        "kind": "vlad export",
        "vlad": __version__,
        "format": form.name,
        "backbone": backbone.info.name,
        "weights": backbone.fingerprint[:16],
        "head": name,
        "params": {k: v for k, v in vars(head).items() if not k.endswith("_")},
        "protocol": protocol(head),
        "category": category,
        "bank": panel.banks[name].name if name in panel.banks else None,
        "input": {
            "name": PIXELS,
            "shape": [1, 3, size, size],
            "channels": "RGB",
            "resize": RESIZE[panel.specs[name].resize].format(backbone.interpolation),
            "mean": backbone.mean,
            "std": backbone.std,
        },
        "files": {},
        "outputs": {},
        "deviation": {},
    }
