"""The small CLIP shipped in the package.

``WEIGHTS`` is a half-precision state dict of ``open_clip.model.CLIP`` and ``CONFIG`` its open_clip
model configuration; ``CARD.md`` beside them documents how they were trained, by the programs in
``tools/tiny``.
"""

from pathlib import Path

WEIGHTS = Path(__file__).with_name("vlad-tiny.safetensors")
CONFIG = Path(__file__).with_name("vlad-tiny.json")

__all__ = ["CONFIG", "WEIGHTS"]
