"""Graphs in files: traced once for one image, checked against torch, stored in the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from vlad.errors import GraphError, OutputError
from vlad.system.files import cannot_write
from vlad.system.resources import cache_folder

STEM = "graph"
FORMAT = 2  # increase when a pass computes something else under the same key
# largest deviation of outputs from torch's, as a share of their own length
LIMITS = {"float32": 1e-3, "bfloat16": 0.1, "int8": 0.5}

Run = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]


class Graph(torch.nn.Module):
    """A traceable module, with the names of its input and output tensors."""

    inputs: Sequence[str]
    outputs: Sequence[str]


class Format(Protocol):
    """A library that stores graphs in files.

    Attributes:
        name: name of the runtime.
        version: version of the library.
        precision: its precision.
    """

    name: str
    version: str
    precision: str

    def write(self, graph: Graph, inputs: Sequence[torch.Tensor], stem: Path) -> None:
        """Trace a module into files."""

    def read(self, stem: Path) -> Run:
        """Load these files as a function."""


def prepare(
    form: Format, graph: Graph, inputs: Sequence[torch.Tensor], key: tuple
) -> Callable[..., list[torch.Tensor]]:
    """The graph of a pass as a function on its inputs, from the cache if it is there.

    Args:
        inputs: inputs for any number of images; they set the shapes of the graph.
        key: everything it depends on except its format and versions.

    Raises:
        GraphError: it cannot be traced, or deviates from torch.
        OutputError: the cache folder is not writable.
    """
    versions = (FORMAT, form.name, form.version, form.precision, torch.__version__)
    entry = hashlib.sha256(repr((*versions, *key)).encode()).hexdigest()
    try:
        folder = cache_folder() / "graphs" / entry
    except RuntimeError as error:
        raise OutputError(f"{error}; name a folder for graphs with VLAD_CACHE.") from error
    run = None
    if folder.is_dir():
        with contextlib.suppress(Exception):  # any broken files are recreated
            run = form.read(folder / STEM)
    if run is None:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, suffix=".part") as temporary:
                made = Path(temporary) / STEM
                made.mkdir()
                inputs = examples(inputs)
                check(form, graph, inputs, trace(form, graph, inputs, made / STEM))
                _move(made, folder)
        except OSError as error:
            raise cannot_write(folder.parent, error) from error
        run = form.read(folder / STEM)
    return image_by_image(run)


def _move(made: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    try:
        os.rename(made, folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster
            raise


def examples(inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Seeded noise with the shapes of one image's inputs."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, *x.shape[1:], generator=generator) for x in inputs]


def trace(form: Format, graph: Graph, inputs: Sequence[torch.Tensor], stem: Path) -> Run:
    """Write a graph to files and read it back.

    Raises:
        GraphError: it cannot be traced.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracers warn about sizes that are fixed on purpose
            graph(*inputs)  # makes resized positions constants in the graph
            form.write(graph, inputs, stem)
        return form.read(stem)
    except OSError:
        raise
    except Exception as error:  # the libraries raise many kinds of errors
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = next((line for line in lines if line.startswith("-- ")), lines[0])
        raise GraphError(
            f"Cannot convert this pass to a graph of {form.name} ({reason}); choose another "
            "runtime."
        ) from error


@torch.no_grad()
def check(form: Format, graph: Graph, inputs: Sequence[torch.Tensor], run: Run) -> None:
    """Check that the outputs of a graph equal torch's.

    Raises:
        GraphError: they do not.
    """
    found = run([x.numpy() for x in inputs])
    for name, x, y in zip(graph.outputs, graph(*inputs), found, strict=True):
        share = ((torch.from_numpy(y) - x).norm() / x.norm()).item()
        if not share <= LIMITS[form.precision.partition(" ")[0]]:
            raise GraphError(
                f"{name} of {form.name} in {form.precision} deviates from torch by {share:.1%} of "
                "its length; choose another dtype or runtime."
            )


def image_by_image(run: Run) -> Callable[..., list[torch.Tensor]]:
    """A graph of one image as a function on tensors of any number of images."""

    def each(*inputs: torch.Tensor) -> list[torch.Tensor]:
        arrays = [np.ascontiguousarray(x.detach().numpy()) for x in inputs]
        parts = [run([x[i : i + 1] for x in arrays]) for i in range(len(arrays[0]))]
        return [torch.from_numpy(np.concatenate(x)) for x in zip(*parts, strict=True)]

    return each
