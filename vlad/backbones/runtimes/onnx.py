"""ONNX Runtime, on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.onnx.symbolic_helper import parse_args

from vlad.backbones.runtimes import files, library
from vlad.system.processor import sums_bytes_exactly

EXTRA = "onnx"
INT7 = "int8 with weights of 7 bits"


class Onnx:
    """Graphs as ONNX files.

    Args:
        precision: "float32", or "int8": weights and (dynamically) activations of the matrix
            products in 8 bits; weights use only 7 bits on processors whose sums would overflow.

    Raises:
        GraphError: its libraries are not installed.
    """

    name = "onnx"
    suffix = ".onnx"

    def __init__(self, precision: str = "float32"):
        library("onnx", EXTRA)  # torch exports with it
        self._library = library("onnxruntime", EXTRA)
        self.version = self._library.__version__
        self.quantised = precision == "int8"
        # part of the key of cached graphs, and of run.json: other weights give other scores
        self.precision = INT7 if self.quantised and not sums_bytes_exactly() else precision

    def prepare(
        self, graph: files.Graph, inputs: Sequence[torch.Tensor], key: tuple
    ) -> Callable[..., list[torch.Tensor]]:
        """The graph as a function on its inputs; see `vlad.backbones.runtimes.files`."""
        return files.prepare(self, graph, inputs, key)

    def write(self, graph: files.Graph, inputs: Sequence[torch.Tensor], stem: Path) -> None:
        """Trace the module; see `vlad.backbones.runtimes.files`."""
        path = stem.with_suffix(self.suffix)
        torch.onnx.register_custom_op_symbolic("aten::rms_norm", _rms_norm, 18)
        # tracing takes seconds, export by graph capture minutes
        torch.onnx.export(
            graph,
            tuple(inputs),
            str(path),
            input_names=graph.inputs,
            output_names=graph.outputs,
            dynamo=False,
        )
        if self.quantised:
            quantization = library("onnxruntime.quantization", EXTRA)
            quantization.quantize_dynamic(
                path,
                path,
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                reduce_range=self.precision == INT7,
                weight_type=quantization.QuantType.QInt8,
            )

    def read(self, stem: Path) -> files.Run:
        """Load the file as a function."""
        options = self._library.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        session = self._library.InferenceSession(
            stem.with_suffix(self.suffix), options, providers=["CPUExecutionProvider"]
        )
        names = [x.name for x in session.get_inputs()]
        return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))


@parse_args("v", "is", "v", "f")
def _rms_norm(graph, x, shape, weight, eps):
    """x / sqrt(mean(x²) + eps) · weight, which torch's exporter lacks, in ONNX's operators."""
    axes = graph.op("Constant", value_t=torch.arange(-len(shape), 0))
    small = graph.op("Constant", value_t=torch.tensor(eps))
    mean = graph.op("ReduceMean", graph.op("Mul", x, x), axes, keepdims_i=1)
    normed = graph.op("Div", x, graph.op("Sqrt", graph.op("Add", mean, small)))
    return graph.op("Mul", normed, weight)
