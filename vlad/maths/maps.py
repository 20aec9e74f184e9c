"""From scores on the patch grid to anomaly maps: upsampling, smoothing, pooling."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def upsample(
    grid_map: torch.Tensor,
    size: tuple[int, int],
    *,
    sigma: float = 0.0,
    align_corners: bool = False,
) -> torch.Tensor:
    """(B, h, w) patch scores -> (B, H, W) bilinear map, smoothed with `sigma` in pixels."""
    full = F.interpolate(
        grid_map[:, None].float(), size=size, mode="bilinear", align_corners=align_corners
    )[:, 0]
    return gaussian_blur(full, sigma) if sigma else full


def enlarge(
    layers: torch.Tensor,
    grid: tuple[int, int],
    size: tuple[int, int],
    align_corners: bool = False,
) -> torch.Tensor:
    """(B, L, h·w) patch values of L blocks -> (B, L, H, W), bilinear."""
    return F.interpolate(
        layers.unflatten(2, grid).float(), size=size, mode="bilinear", align_corners=align_corners
    )


def gaussian_blur(maps: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian smoothing of (B, H, W) maps, mirrored at the border and cut at 4 sigma.

    Equal to `scipy.ndimage.gaussian_filter` with its defaults, on any device.
    """
    radius = int(4 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(maps)
    out = maps[:, None]
    for dim in (2, 3):
        padded = out.index_select(dim, _mirror(out.shape[dim], radius, out.device))
        out = F.conv2d(padded, kernel.reshape(1, 1, *((-1, 1) if dim == 2 else (1, -1))))
    return out[:, 0]


def blur_close(maps: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian smoothing of (B, H, W) maps over 3×3 pixels, mirrored without the edge itself.

    Equal to torchvision's `GaussianBlur(3, sigma)`.
    """
    kernel = torch.exp(-0.5 * (torch.arange(-1.0, 2.0) / sigma) ** 2).to(maps)
    kernel = kernel / kernel.sum()
    padded = F.pad(maps[:, None], (1, 1, 1, 1), mode="reflect")
    return F.conv2d(padded, torch.outer(kernel, kernel)[None, None])[:, 0]


def _mirror(length: int, radius: int, device: torch.device) -> torch.Tensor:
    """Indices that extend 0…length-1 by `radius` on both sides as (d c b a | a b c d | d c b a)."""
    index = torch.arange(-radius, length + radius, device=device) % (2 * length)
    return torch.where(index < length, index, 2 * length - 1 - index)


def harmonic_mean(stack: torch.Tensor) -> torch.Tensor:
    """Harmonic mean over the first axis; 0 wherever one value is 0."""
    return len(stack) / (1 / stack).sum(dim=0)


def top_mean(values: torch.Tensor, fraction: float) -> torch.Tensor:
    """(B, N) -> (B,): mean of the largest int(fraction·N) values, at least one (0 = maximum)."""
    count = max(1, int(fraction * values.shape[1]))
    return values.topk(count, dim=1).values.mean(dim=1)
