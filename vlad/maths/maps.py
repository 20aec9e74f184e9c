"""From scores on the patch grid to anomaly maps: upsampling, smoothing, pooling."""

from __future__ import annotations

from functools import partial

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
    enlarged = partial(F.interpolate, mode="bilinear", align_corners=align_corners)
    maps = grid_map.float()
    if not sigma:
        return enlarged(maps[:, None], size)[:, 0]
    # both steps are linear: done to single patches of a line, they give a matrix for all lines
    down, across = (
        (_smoothing(full, sigma) @ enlarged(torch.eye(few)[None, None], (full, few))[0, 0].double())
        for full, few in zip(size, maps.shape[1:], strict=True)
    )
    down, across = (x.to(maps, non_blocking=True) for x in (down, across))
    return down @ maps @ across.T


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
    lines = (_smoothing(length, sigma) for length in maps.shape[1:])
    down, across = (x.to(maps, non_blocking=True) for x in lines)
    return down @ maps @ across.T


def blur_close(maps: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian smoothing of (B, H, W) maps over 3×3 pixels, mirrored without the edge itself.

    Equal to torchvision's `GaussianBlur(3, sigma)`.
    """
    taps = torch.arange(-1.0, 2.0, device=maps.device)
    kernel = torch.exp(-0.5 * (taps / sigma) ** 2).to(maps)
    kernel = kernel / kernel.sum()
    padded = F.pad(maps[:, None], (1, 1, 1, 1), mode="reflect")
    return F.conv2d(padded, torch.outer(kernel, kernel)[None, None])[:, 0]


def _smoothing(length: int, sigma: float) -> torch.Tensor:
    """(length, length) float64 matrix that smooths a line: whole products are faster than taps."""
    radius = int(4 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1)
    taps = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    # a line is extended on both sides as (d c b a | a b c d | d c b a)
    source = (torch.arange(length)[:, None] + offsets) % (2 * length)
    source = torch.where(source < length, source, 2 * length - 1 - source)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    return matrix.scatter_add_(1, source, (taps / taps.sum()).expand(length, -1))


def harmonic_mean(stack: torch.Tensor) -> torch.Tensor:
    """Harmonic mean over the first axis; 0 wherever one value is 0."""
    return len(stack) / (1 / stack).sum(dim=0)


def top_mean(values: torch.Tensor, fraction: float) -> torch.Tensor:
    """(B, N) -> (B,): mean of the largest int(fraction·N) values, at least one (0 = maximum)."""
    count = max(1, int(fraction * values.shape[1]))
    return values.topk(count, dim=1).values.mean(dim=1)


def top_parts(values: torch.Tensor, fraction: float) -> torch.Tensor:
    """(N,) -> (N,): what each value adds to their `top_mean`, which is the sum of these parts."""
    count = max(1, int(fraction * len(values)))
    top = values.topk(count)
    return torch.zeros_like(values).scatter(0, top.indices, top.values / count)


def top_mean_without(values: torch.Tensor, regions: torch.Tensor, fraction: float) -> torch.Tensor:
    """(N,) values and (R, N) bool -> (R,): `top_mean` with the values of each region set to 0."""
    return top_mean(torch.where(regions, 0.0, values), fraction)
