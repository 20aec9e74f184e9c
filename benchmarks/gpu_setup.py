"""What the parts of `gpu.py` share: sizes for a device, its clock, backbones, drawn images."""

from __future__ import annotations

import copy
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from pathlib import Path

import torch
from PIL import Image
from seeded import backbone_of, random_adapter, random_model

from vlad.backbones import load_backbone
from vlad.backbones.backbone import Backbone
from vlad.demo import HAZELNUT
from vlad.heads import Head, head_maker, load_head
from vlad.images import read_image
from vlad.system.machine import peak_memory

# case, figure, unit, and what it is beside or why there is none
Row = tuple[str, float | str, str, str]
Rows = Iterator[Row]
FAILED = "failed"  # the figure of a row
ENOUGH = 3.0  # seconds of calls, after three of them
# fitted for fewer steps than by default, which take minutes and change neither speed nor exactness
QUICK = {
    "inp_former": {"steps": 20},
    "onenip": {"steps": 4},
    "dfr": {"epochs": 5},
    "simplenet": {"epochs": 5},
}


@dataclass
class Setup:
    """Sizes that suit a device.

    Attributes:
        heads: those that are checked and timed.
    """

    device: torch.device
    heads: tuple[str, ...]

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def model(self) -> str:
        return "ViT-L-14-336" if self.on_gpu else "vlad-tiny"

    @property
    def batch(self) -> int:
        return 32 if self.on_gpu else 2

    @property
    def rounds(self) -> int:
        return 10 if self.on_gpu else 1

    @property
    def images(self) -> tuple[int, ...]:
        """How many images memory and MuSc hold."""
        return (1_000, 10_000) if self.on_gpu else (4, 8)

    @cached_property
    def folder(self) -> tempfile.TemporaryDirectory:
        return tempfile.TemporaryDirectory()

    @cached_property
    def backbone(self) -> Backbone:
        """The timed backbone, in float32 on the CPU; random weights but for vlad-tiny."""
        if self.model == "vlad-tiny":
            return load_backbone("vlad-tiny", "cpu")
        return backbone_of(self.model, random_model(self.model))

    def placed(self, backbone: Backbone, dtype: torch.dtype) -> Backbone:
        """A copy of a backbone on the device."""
        return copy.deepcopy(backbone).to(self.device, dtype)

    def head(self, name: str, backbone: Backbone) -> Head:
        """A head with its defaults; with a random adapter, if it can have one and needs it."""
        maker = head_maker(name)
        if "adapter" in signature(maker).parameters and getattr(maker(), "needs_adapter", False):
            place = Path(self.folder.name) / f"{name}-{backbone.info.name}"
            folder = place if place.is_dir() else random_adapter(name, backbone, place)
            return load_head(name, adapter=str(folder))
        return load_head(name, **QUICK.get(name, {}))

    def seconds(self, run: Callable[[], object]) -> float:
        """The median time of a call, after two to warm up, until the device is done."""
        run(), run()
        found: list[float] = []
        while len(found) < self.rounds and (len(found) < 3 or sum(found) < ENOUGH):
            found.append(self.once(run))
        return statistics.median(found)

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def once(self, run: Callable[[], object]) -> float:
        """Seconds of one call, until the device is done."""
        self.wait()
        start = time.perf_counter()
        run()
        self.wait()
        return time.perf_counter() - start

    def peak(self, of: str) -> Row:
        """The most memory held since the last such row or the start of the section (on a CPU:
        since that of the program)."""
        if not self.on_gpu:
            return f"{of}: peak memory", peak_memory() or "unknown", "MiB", "of the process"
        held = torch.cuda.max_memory_allocated(self.device) / 2**20
        self.forget_peak()
        return f"{of}: peak memory", held, "MiB", "of the device"

    def forget_peak(self) -> None:
        """Begin a new peak, without what nobody uses any more."""
        gc.collect()  # panels hold themselves
        if self.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)


def said(error: BaseException) -> str:
    """The start of an error's message, fit for a cell of a table."""
    line = str(error).strip().partition("\n")[0].replace("|", "/")
    return f"{type(error).__name__}: {line[:160]}"


def photos(kind: str, count: int) -> list[Image.Image]:
    """Hazelnuts that ship with vlad, over again if there are fewer."""
    files = sorted((HAZELNUT / kind).rglob("*.*"))
    return [read_image(files[i % len(files)]) for i in range(count)]
