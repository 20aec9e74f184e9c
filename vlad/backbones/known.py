"""Backbones worth naming, as data: what for, and under which licence their weights are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vlad.system.resources import tomllib

FILE = Path(__file__).with_name("known.toml")


@dataclass(frozen=True)
class KnownBackbone:
    """A backbone of a model hub.

    Attributes:
        name: the value for `--backbone`.
        kind: how it is built, and whether it reads text. A plain ViT has every capability.
        parameters: in millions.
        licence: of its weights.
        use: what it is good for.
        figures: published ones that rest on it, image | pixel AUROC on MVTec AD in %.
    """

    name: str
    kind: str
    parameters: int
    licence: str
    use: str
    figures: str = ""

    @property
    def size(self) -> int:
        """About how many bytes a download in float32 takes."""
        return self.parameters * 4_000_000


def known_backbones() -> list[KnownBackbone]:
    """All of them, in the order of the file."""
    entries = tomllib.loads(FILE.read_text(encoding="utf-8"))["backbone"]
    return [KnownBackbone(**entry) for entry in entries]
