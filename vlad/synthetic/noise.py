"""Random fields and small array tools for drawing.

Fields are float32 arrays of shape (n, n); colours are float32 in [0, 1].
"""

import colorsys
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

SIZE = 256


@lru_cache(maxsize=8)
def grid(n=SIZE):
    """Pixel coordinates ``(y, x)`` in [-1, 1], each (n, n)."""
    axis = np.linspace(-1, 1, n, dtype=np.float32)
    return np.meshgrid(axis, axis, indexing="ij")


@lru_cache(maxsize=8)
def _frequencies(n):
    return np.meshgrid(np.fft.fftfreq(n) * n, np.fft.rfftfreq(n) * n, indexing="ij")


def unit(field):
    """Scale a field to mean 0 and standard deviation 1."""
    return (field - field.mean()) / (field.std() + 1e-6)


def spectral(rng, beta=1.5, stretch=1.0, angle=0.0, low=0.0, n=SIZE):
    """Gaussian field whose power falls as frequency**(-2·beta).

    Args:
        stretch: >1 stretches the grain along ``angle`` (radians).
        low: frequencies (cycles per image) below this are damped.
    """
    fy, fx = _frequencies(n)
    u = fx * np.cos(angle) + fy * np.sin(angle)
    v = fy * np.cos(angle) - fx * np.sin(angle)
    radius = np.sqrt((u * stretch) ** 2 + (v / stretch) ** 2) + 0.7
    gain = radius**-beta
    if low:
        gain *= 1 - np.exp(-((radius / low) ** 2))
    white = rng.standard_normal((n, n), dtype=np.float32)
    return unit(np.fft.irfft2(np.fft.rfft2(white) * gain, s=(n, n))).astype(np.float32)


def lumps(rng, cells, n=SIZE):
    """Smooth value noise with about ``cells`` lumps along a side, standard deviation 1."""
    small = rng.standard_normal((cells + 2, cells + 2), dtype=np.float32)
    return unit(resize(small, n))


def resize(field, n):
    """Bicubic resize of a (h, w) field to (n, n)."""
    return np.asarray(
        Image.fromarray(field.astype(np.float32)).resize((n, n), Image.Resampling.BICUBIC)
    )


def blur(field, sigma):
    """Gaussian blur with wrapping edges."""
    n = field.shape[0]
    fy, fx = _frequencies(n)
    gain = np.exp(-2 * (np.pi * sigma / n) ** 2 * (fx**2 + fy**2))
    return np.fft.irfft2(np.fft.rfft2(field) * gain, s=field.shape).astype(np.float32)


def cells(rng, count, jitter=0.9, n=SIZE):
    """Worley cells: distances to the nearest and second nearest seed, and a value per cell.

    Args:
        count: cells along a side.

    Returns:
        ``(f1, f2, value)``; distances in units of the cell size, value uniform in [0, 1].
    """
    side = count + 4
    offset = rng.random((2, side, side), dtype=np.float32) * jitter + (1 - jitter) / 2
    value = rng.random((side, side), dtype=np.float32)
    y, x = grid(n)
    py, px = (y + 1) / 2 * count + 2, (x + 1) / 2 * count + 2
    iy, ix = py.astype(np.int32), px.astype(np.int32)
    f1 = np.full((n, n), 9, np.float32)
    f2 = f1.copy()
    owner = np.zeros((n, n), np.float32)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            cy, cx = np.minimum(iy + dy, side - 1), np.minimum(ix + dx, side - 1)
            d = (cy + offset[0, cy, cx] - py) ** 2 + (cx + offset[1, cy, cx] - px) ** 2
            closer = d < f1
            f2 = np.where(closer, f1, np.minimum(f2, d))
            owner = np.where(closer, value[cy, cx], owner)
            f1 = np.where(closer, d, f1)
    return np.sqrt(f1), np.sqrt(f2), owner


def relief(height, azimuth, depth=1.0):
    """Lambert shading of a height field (pixels) lit from ``azimuth``; flat ground gives 1."""
    gy, gx = np.gradient(height)
    slope = depth * (gx * np.cos(azimuth) + gy * np.sin(azimuth))
    return np.clip((1 - slope) / np.sqrt(1 + depth**2 * (gx**2 + gy**2)), 0.1, 1.9)


def smoothstep(x, low, high):
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a, b, t):
    """Blend two colours or images by a (n, n) weight; gives (n, n, 3)."""
    return a + (b - a) * t[..., None]


def colour(rng, saturation=None, value=None):
    """A random RGB colour, dull more often than vivid."""
    s = rng.beta(1.0, 3.0) if saturation is None else saturation
    v = rng.uniform(0.15, 0.95) if value is None else value
    return np.array(colorsys.hsv_to_rgb(rng.random(), s, v), np.float32)


def near(rng, base, spread=0.1):
    """A colour near ``base``, varied in brightness and slightly in hue."""
    shift = rng.normal(0, spread) + rng.normal(0, spread / 3, 3)
    return np.clip(base + shift, 0.02, 0.98).astype(np.float32)


def strokes(lines, width, n=SIZE, scale=2):
    """Antialiased polylines.

    Args:
        lines: list of (k, 2) arrays of x, y in pixels.
        width: line width in pixels, or one per line.

    Returns:
        Coverage (n, n) in [0, 1].
    """
    canvas = Image.new("L", (n * scale, n * scale))
    draw = ImageDraw.Draw(canvas)
    widths = np.broadcast_to(width, len(lines))
    for line, w in zip(lines, widths, strict=True):
        points = [tuple(p) for p in np.asarray(line) * scale]
        draw.line(points, fill=255, width=max(1, round(float(w) * scale)), joint="curve")
    return _coverage(canvas, n)


def polygon(points, n=SIZE, scale=2):
    """Antialiased filled polygon from (k, 2) points x, y in pixels; coverage (n, n)."""
    canvas = Image.new("L", (n * scale, n * scale))
    ImageDraw.Draw(canvas).polygon([tuple(p) for p in np.asarray(points) * scale], fill=255)
    return _coverage(canvas, n)


def _coverage(canvas, n):
    return np.asarray(canvas.resize((n, n), Image.Resampling.BOX), np.float32) / 255


def wander(rng, start, length, heading, wobble, step=3.0):
    """A random walk with momentum: (k, 2) points x, y in pixels."""
    count = max(2, int(length / step))
    turn = heading + np.cumsum(rng.normal(0, wobble, count))
    path = np.cumsum(np.stack([np.cos(turn), np.sin(turn)], 1) * step, 0)
    return np.concatenate([np.zeros((1, 2)), path]) + start
