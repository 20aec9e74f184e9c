"""The small CLIP that ships inside the package.

``WEIGHTS`` is a half-precision state dict of ``open_clip.model.CLIP`` and ``CONFIG`` its
open_clip model configuration; ``CARD.md`` beside them tells how they were made, and ``tools/tiny``
holds the programs that made them.
"""

from pathlib import Path

WEIGHTS = Path(__file__).with_name("vlad-tiny.safetensors")
CONFIG = Path(__file__).with_name("vlad-tiny.json")

__all__ = ["CONFIG", "WEIGHTS"]
