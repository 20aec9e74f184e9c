"""Moments of rows that arrive batch by batch, in memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Mapping

import torch


class Moments:
    """Count, mean, scatter and two higher sums of rows, in float64.

    Batches are joined by the pairwise formulas of Chan et al. (1983), so that moments of parts
    can also be made elsewhere and merged. Leading axes are places with moments of their own.

    Attributes:
        count: number of rows N.
        mean: (..., C).
        scatter: (..., C, C), Σ (x − mean)(x − mean)ᵀ.
        cubes: (..., C), Σ ‖x − mean‖² (x − mean).
        quartes: (...), Σ ‖x − mean‖⁴.
    """

    def __init__(
        self,
        count: int,
        mean: torch.Tensor,
        scatter: torch.Tensor,
        cubes: torch.Tensor,
        quartes: torch.Tensor,
    ):
        self.count = count
        self.mean, self.scatter, self.cubes, self.quartes = mean, scatter, cubes, quartes

    @classmethod
    def of(cls, rows: torch.Tensor) -> Moments:
        """The moments of rows (N, ..., C) with N ≥ 1."""
        rows = rows.double()
        mean = rows.mean(dim=0)
        centred = rows - mean
        if centred.dim() == 2:
            scatter = centred.T @ centred
        else:
            places = centred.movedim(0, -2)  # (..., N, C)
            scatter = places.transpose(-1, -2) @ places
        squares = centred.square().sum(dim=-1)
        cubes = (squares[..., None] * centred).sum(dim=0)
        return cls(len(rows), mean, scatter, cubes, squares.square().sum(dim=0))

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets of rows."""
        count = self.count + other.count
        mean = self.mean + (other.mean - self.mean) * (other.count / count)
        first, second = self._about(mean), other._about(mean)
        both = (a + b for a, b in zip(first, second, strict=True))
        return Moments(count, mean, *both)

    def covariance(self, freedom: int = 0, centre: torch.Tensor | None = None) -> torch.Tensor:
        """(..., C, C) scatter over N − `freedom`, about the mean or another centre (..., C)."""
        scatter = self.scatter if centre is None else self._about(centre)[0]
        return scatter / (self.count - freedom)

    def ledoit_wolf(self) -> torch.Tensor:
        """(..., C, C) covariance, shrunk towards a multiple of the identity by the optimal share.

        Ledoit and Wolf, 2004, as scikit-learn has it; two rows cannot tell the share, which is 1.
        """
        width = self.mean.shape[-1]
        sample = self.covariance()
        scale = sample.diagonal(dim1=-2, dim2=-1).mean(dim=-1)[..., None, None]
        target = scale * torch.eye(width, dtype=sample.dtype, device=sample.device)
        distance = (sample - target).square().sum(dim=(-2, -1)) / width
        spread = self.quartes / self.count - sample.square().sum(dim=(-2, -1))
        noise = torch.minimum(distance, spread / (self.count * width))
        share = torch.where(distance > 0, noise / distance, 0.0)[..., None, None]
        if self.count < 3:
            share = torch.ones_like(share)
        return (1 - share) * sample + share * target

    def tensors(self) -> dict[str, torch.Tensor]:
        """Name -> tensor, as `from_tensors` reads them."""
        count = torch.tensor(self.count, dtype=torch.float64, device=self.mean.device)
        named = {"mean": self.mean, "scatter": self.scatter}
        return {"count": count, **named, "cubes": self.cubes, "quartes": self.quartes}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> Moments:
        """What `tensors` has given."""
        names = ("mean", "scatter", "cubes", "quartes")
        return cls(int(tensors["count"]), *(tensors[name].double() for name in names))

    def _about(self, centre: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scatter, cubes and quartes about another centre."""
        move = self.mean - centre
        length = move.square().sum(dim=-1)
        along = (self.scatter @ move[..., None])[..., 0]
        squares = self.scatter.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
        n = self.count
        scatter = self.scatter + n * move[..., :, None] * move[..., None, :]
        cubes = self.cubes + 2 * along + (squares + n * length)[..., None] * move
        quartes = (
            self.quartes
            + 4 * (move * (self.cubes + along)).sum(dim=-1)
            + length * (2 * squares + n * length)
        )
        return scatter, cubes, quartes
