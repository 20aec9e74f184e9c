"""Parts of the reference outputs that every clone has, and how they are compared."""

from pathlib import Path

import numpy as np
import torch

LAYERS = (6, 12, 18, 24)


def load(name: str) -> dict[str, torch.Tensor]:
    with np.load(Path(__file__).parent / "data" / f"{name}.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def assert_close(found, expected, atol=1e-4):
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)


def at_distance(distance: torch.Tensor) -> torch.Tensor:
    """(..., 2) unit vectors at these cosine distances from (1, 0)."""
    return torch.stack([1 - distance, (1 - (1 - distance).square()).sqrt()], dim=-1)


def at_cosine(
    cosine: torch.Tensor, sides: torch.Tensor, rest: torch.Tensor | None = None
) -> torch.Tensor:
    """(..., D) unit vectors whose cosine with the second of two unit vectors is this much larger.

    Args:
        sides: (2, D).
        rest: (..., D) unit vectors at right angles to both, or None: where they point otherwise.
    """
    axis = sides[1] - sides[0]
    along = cosine[..., None] / axis.norm()
    rest = (sides[1] + sides[0]) / (sides[1] + sides[0]).norm() if rest is None else rest
    return along * axis / axis.norm() + (1 - along.square()).sqrt() * rest
