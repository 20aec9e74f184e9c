"""The backbone compiled, and as a CUDA graph, on a device."""

from __future__ import annotations

from functools import partial

import torch
from floors import bare
from gpu_setup import Rows, Setup, photos, said
from gpu_speed import DTYPES

from vlad.backbones.runtimes import load_runtime, use
from vlad.errors import VladError
from vlad.heads import load_head
from vlad.scoring.panel import Panel


@torch.no_grad()
def compiled(setup: Setup) -> Rows:
    """Pixels on the host to features by a compiled backbone, and the bare backbone in a graph."""
    if not setup.on_gpu:
        yield "compiled", "not applicable", "", "measured on GPUs"
        return
    images = photos("test", setup.batch)
    for dtype in DTYPES:
        backbone = setup.placed(setup.backbone, getattr(torch, dtype))
        panel = Panel(backbone, {"memory": load_head("memory")})
        prepared = [panel.prepare(image) for image in images]
        extract = partial(panel.extractor.extract, prepared, list(panel.specs.values()))
        inputs = torch.stack([torch.from_numpy(next(iter(x.values()))) for x in prepared])
        plain = bare(backbone, inputs.to(setup.device), "gelu")
        alone, whole = setup.seconds(plain), setup.seconds(extract)
        name = f"compiled, {dtype}"
        try:
            use(backbone, load_runtime("compile", dtype))
            # the first of two calls to warm up compiles, and the second records the graph
            spent = setup.seconds(extract)
            beside = f"{whole / spent:.2f} times as fast"
            yield f"{name}: from the host to features", setup.batch / spent, "images/s", beside
        except (VladError, RuntimeError) as error:  # torch's compiler raises the latter
            yield f"{name}: from the host to features", "not measured", "", said(error)
        name = f"{name}: CUDA graph of the bare backbone"
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                plain()
            spent = setup.seconds(graph.replay)
            beside = f"{alone / spent:.2f} times as fast"
            yield name, setup.batch / spent, "images/s", beside
            del graph
        except RuntimeError as error:  # what a graph cannot capture
            yield name, "not measured", "", said(error)
    yield setup.peak("compiled")
