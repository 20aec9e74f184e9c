"""The small CLIP tower that ships inside the package, and the code that trained it.

``WEIGHTS`` is a half-precision state dict of ``open_clip.model.CLIP`` and ``CONFIG`` its
open_clip model configuration; ``CARD.md`` beside them tells how they were made.  Train again
with ``python -m vlad.tiny.train --out DIR``.
"""

from pathlib import Path

WEIGHTS = Path(__file__).with_name("vlad-tiny.safetensors")
CONFIG = Path(__file__).with_name("vlad-tiny.json")

__all__ = ["CONFIG", "WEIGHTS"]
