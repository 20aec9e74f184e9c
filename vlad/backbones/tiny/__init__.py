"""vlad-tiny, the backbone that ships with vlad.

`WEIGHTS` is a half-precision state dict of `vlad.backbones.tiny.model.Tiny`. `CARD.md` beside it
documents where it comes from, how its words were trained (`tools/tiny`) and what it cannot do.
"""

from pathlib import Path

WEIGHTS = Path(__file__).with_name("vlad-tiny.safetensors")

__all__ = ["WEIGHTS"]
