"""OpenVINO, on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from vlad.backbones.runtimes import files, library

EXTRA = "openvino"


class OpenVino:
    """Graphs as OpenVINO files, an .xml and a .bin.

    Args:
        precision: "float32", or "bfloat16" for the matrix products, if the processor has
            instructions for it.

    Raises:
        GraphError: its library is not installed.
    """

    name = "openvino"
    suffix = ".xml"

    def __init__(self, precision: str = "float32"):
        self._library = library("openvino", EXTRA)
        self.version = self._library.__version__
        self.precision = precision
        self.prepare = partial(files.prepare, self)

    def write(self, graph: files.Graph, inputs: Sequence[torch.Tensor], stem: Path) -> None:
        """Trace the module; see `vlad.backbones.runtimes.files`."""
        shapes = [list(x.shape) for x in inputs]
        # when it traces itself, the library runs the pass several times
        traced = torch.jit.trace(graph, tuple(inputs), check_trace=False, strict=False)
        model = self._library.convert_model(traced, input=shapes)
        for place, name in enumerate(graph.inputs):
            model.input(place).get_tensor().set_names({name})
        for place, name in enumerate(graph.outputs):
            model.output(place).get_tensor().set_names({name})
        self._library.save_model(model, stem.with_suffix(self.suffix), compress_to_fp16=False)

    def read(self, stem: Path) -> files.Run:
        """Load the files as a function."""
        hint = {"float32": "f32", "bfloat16": "bf16"}[self.precision]
        compiled = self._library.Core().compile_model(
            stem.with_suffix(self.suffix),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": hint,
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "PERFORMANCE_HINT": "LATENCY",
            },
        )
        return lambda arrays: [x.copy() for x in compiled(list(arrays)).values()]
