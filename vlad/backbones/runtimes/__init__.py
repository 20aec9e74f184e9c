"""Runtimes: libraries that run the vision passes of a backbone in place of plain torch.

A pass is traced once from `vlad.backbones.vit`, so there is one definition of it; text and heads
stay in torch. A runtime is created with a precision, has it and its `name` as attributes, and

    prepare(graph, inputs, key) -> the compiled graph, a function on its inputs

where `key` identifies the graph (see `vlad.backbones.runtimes.passes`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from vlad.errors import GraphError

if TYPE_CHECKING:
    from types import ModuleType

    from vlad.backbones.backbone import Backbone

RUNTIMES = {
    "torch": None,
    "compile": "vlad.backbones.runtimes.compile:Compiled",
    "onnx": "vlad.backbones.runtimes.onnx:Onnx",
    "openvino": "vlad.backbones.runtimes.openvino:OpenVino",
}
PRECISIONS = {
    "torch": ("float32", "bfloat16", "float16"),
    "compile": ("float32", "bfloat16", "float16"),
    "onnx": ("float32", "int8"),
    "openvino": ("float32", "bfloat16"),
}
# these trace float32 weights on the CPU, compute there, and set the precision themselves
OUTSIDE_TORCH = ("onnx", "openvino")


def load_runtime(name: str, precision: str = "float32", device: str = "auto"):
    """A runtime by name; None is plain torch.

    Raises:
        GraphError: an unknown name, an unsupported precision or device, or a library that is not
            installed.
    """
    if name not in RUNTIMES:
        raise GraphError(f"Unknown runtime {name!r}; choose from {', '.join(RUNTIMES)}.")
    if precision not in PRECISIONS[name]:
        raise GraphError(
            f"The runtime {name} does not support {precision}; choose "
            f"{' or '.join(PRECISIONS[name])} as `dtype`, or another `runtime`."
        )
    if name in OUTSIDE_TORCH and device not in ("auto", "cpu"):
        raise GraphError(f"The runtime {name} runs on the CPU; leave `device` out.")
    if (place := RUNTIMES[name]) is None:
        return None
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)(precision)


def use(backbone: Backbone, runtime) -> Backbone:
    """Run the backbone's vision passes in a runtime; return the backbone."""
    from vlad.backbones.runtimes.passes import Passes

    backbone.passes = Passes(backbone, runtime)
    backbone.runtime, backbone.precision = runtime.name, runtime.precision
    return backbone


def library(name: str, extra: str) -> ModuleType:
    """Import a library that a runtime needs.

    Raises:
        GraphError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise GraphError(
            f"{name} is missing ({error}); install it with `pip install 'vlad-vision[{extra}]'`."
        ) from error
