"""Graphs in files: traced once for one image, checked against torch, kept in the user's cache."""

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
FORMAT = 2  # raise it when a pass computes something else under the same key
# how far outputs may be from torch's, as a share of their own length
LIMITS = {"float32": 1e-3, "bfloat16": 0.1, "int8": 0.5}

Run = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]


class Graph(torch.nn.Module):
    """A module that can be traced, with the names of the tensors that it takes and gives."""

    inputs: Sequence[str]
    outputs: Sequence[str]


class Format(Protocol):
    """A library with graphs in files.

    Attributes:
        name: of the runtime.
        version: of the library.
        precision: it computes in.
    """

    name: str
    version: str
    precision: str

    def write(self, graph: Graph, inputs: Sequence[torch.Tensor], stem: Path) -> None:
        """Traces a module into files."""

    def read(self, stem: Path) -> Run:
        """What those files compute."""


def prepare(
    form: Format, graph: Graph, inputs: Sequence[torch.Tensor], key: tuple
) -> Callable[..., list[torch.Tensor]]:
    """The graph of a pass as a function on its inputs, from the cache where it is in it.

    Args:
        inputs: of any number of images; their shapes are what the graph is made for.
        key: all that it depends on, but for its format and versions.

    Raises:
        GraphError: it cannot be traced, or departs from torch.
        OutputError: the cache folder cannot be written to.
    """
    versions = (FORMAT, form.name, form.version, form.precision, torch.__version__)
    entry = hashlib.sha256(repr((*versions, *key)).encode()).hexdigest()
    try:
        folder = cache_folder() / "graphs" / entry
    except RuntimeError as error:
        raise OutputError(f"{error}; name a folder for graphs with VLAD_CACHE.") from error
    run = None
    if folder.is_dir():
        with contextlib.suppress(Exception):  # whatever is wrong with the files, they are made anew
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
        if not folder.is_dir():  # else another process was there first
            raise


def examples(inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Seeded noise in the shapes of one image's inputs."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, *x.shape[1:], generator=generator) for x in inputs]


def trace(form: Format, graph: Graph, inputs: Sequence[torch.Tensor], stem: Path) -> Run:
    """Writes a graph into files and reads it back.

    Raises:
        GraphError: it cannot be traced.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracers, about sizes that are meant as fixed
            graph(*inputs)  # so that resized positions are constants in the graph
            form.write(graph, inputs, stem)
        return form.read(stem)
    except OSError:
        raise
    except Exception as error:  # the libraries have errors of many kinds
        reason = str(error).strip().partition("\n")[0]
        raise GraphError(
            f"This pass cannot be made a graph of {form.name} ({reason}); choose another runtime."
        ) from error


@torch.no_grad()
def check(form: Format, graph: Graph, inputs: Sequence[torch.Tensor], run: Run) -> None:
    """Whether the outputs of a graph are those of torch.

    Raises:
        GraphError: they are not.
    """
    found = run([x.numpy() for x in inputs])
    for name, x, y in zip(graph.outputs, graph(*inputs), found, strict=True):
        share = ((torch.from_numpy(y) - x).norm() / x.norm()).item()
        if not share <= LIMITS[form.precision.partition(" ")[0]]:
            raise GraphError(
                f"{name} of {form.name} in {form.precision} departs from torch by {share:.1%} of "
                "its length; choose another dtype or runtime."
            )


def image_by_image(run: Run) -> Callable[..., list[torch.Tensor]]:
    """A graph of one image as a function on tensors of any number."""

    def each(*inputs: torch.Tensor) -> list[torch.Tensor]:
        arrays = [np.ascontiguousarray(x.detach().numpy()) for x in inputs]
        parts = [run([x[i : i + 1] for x in arrays]) for i in range(len(arrays[0]))]
        return [torch.from_numpy(np.concatenate(x)) for x in zip(*parts, strict=True)]

    return each
