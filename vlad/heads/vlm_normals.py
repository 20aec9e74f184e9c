"""The normal images that head vlm shows its model."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from vlad.heads.vlm_question import loaded
from vlad.system.text import counted
from vlad.types import Features

if TYPE_CHECKING:
    from vlad.heads.vlm import Vlm


class Shown:
    """Keeps the first normal images for head vlm, and counts all."""

    def __init__(self, head: Vlm):
        self.head, self.count = head, 0
        self.kept: list[torch.Tensor] = []

    def add(self, features: Features) -> None:
        if not self.count:
            head, device = self.head, features.pixels[0].device
            assert head.model is not None  # `spec` checks it
            loaded(head.model, head.model_name, str(device)).check()
        self.count += len(features.pixels)
        self.kept += features.pixels[: self.head.shown - len(self.kept)]

    def finish(self) -> None:
        if self.count > len(self.kept):
            warnings.warn(
                f"Head vlm shows the model the first {len(self.kept)} of "
                f"{counted(self.count, 'normal image')}; set vlm.shown for more.",
                stacklevel=2,
            )
        # eight bits fit into halves exactly
        self.head.memory_ = {f"normal{i}": x.half() for i, x in enumerate(self.kept)}
