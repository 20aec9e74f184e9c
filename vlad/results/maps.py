"""Anomaly maps on disk: 16-bit grey PNG on a fixed scale, stored inside, or npy floats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin

from vlad.errors import InputError
from vlad.images.resize import resize_map, strips
from vlad.system.files import atomic_write
from vlad.system.text import shown


def write_map(
    path: str | Path,
    anomaly_map: np.ndarray,
    size: tuple[int, int],
    value_range: tuple[float, float],
) -> Path:
    """Write a map, resized bilinearly, in the format that the suffix names.

    A PNG holds `value_range` as 0…65535, values outside cut off, and the range itself in its text,
    with the largest value if that was cut off; an npy file holds the values as they are.

    Args:
        path: ends in .png or .npy.
        anomaly_map: (S, S) values of a head.
        size: (width, height) in the file.
        value_range: (low, high), the same for all maps of a head.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix == ".npy":
        resized = resize_map(anomaly_map, size)
        return atomic_write(path, lambda file: np.save(file, resized))
    return atomic_write(path, lambda file: save_png(file, anomaly_map, size, value_range))


def save_png(
    file: BinaryIO, anomaly_map: np.ndarray, size: tuple[int, int], value_range: tuple[float, float]
) -> None:
    """Write the PNG of `write_map` into an open binary file."""
    low, high = value_range
    resized = resize_map(anomaly_map, size)
    levels = np.empty(resized.shape, np.uint16)
    highest = -np.inf
    for rows in strips(len(levels)):  # float64 for the whole map would take 24 bytes a pixel
        level = (resized[rows].astype(np.float64) - low) / (high - low) * 65535
        highest = max(highest, np.rint(level).max())
        levels[rows] = np.clip(np.rint(level), 0, 65535)
    grey = Image.fromarray(levels)
    text = PngImagePlugin.PngInfo()
    text.add_text("low", repr(float(low)))
    text.add_text("high", repr(float(high)))
    if highest > 65535:
        text.add_text("largest", repr(float(resized.max())))
    # level 1: higher ones take three times as long to save 3 %
    grey.save(file, "PNG", pnginfo=text, compress_level=1)


def read_map(path: str | Path) -> np.ndarray:
    """Read a file of `write_map` -> (H, W) float32 values of the head.

    Raises:
        InputError: it is damaged.
    """
    with _readable(path):
        return np.load(path) if Path(path).suffix == ".npy" else _read_png(path)


def largest_cut(path: str | Path) -> float | None:
    """The largest value of a map, if its file was cut below it; None if the file holds it.

    Raises:
        InputError: it is damaged.
    """
    if Path(path).suffix == ".npy":
        return None
    # the text stands before the values, so these are not decoded
    with _readable(path), PngImagePlugin.PngImageFile(path) as grey:
        largest = grey.info.get("largest")
        return None if largest is None else float(largest)


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Pillow and NumPy raise many kinds
        raise InputError(
            f"cannot read the map {path} ({shown(error)}); remove it and `resume` the run that "
            "made it."
        ) from error


def _read_png(path: str | Path) -> np.ndarray:
    # Image.open refuses what it considers too large
    with PngImagePlugin.PngImageFile(path) as grey:
        levels = np.asarray(grey)
        low, high = float(grey.text["low"]), float(grey.text["high"])
    values = np.empty(levels.shape, np.float32)
    for rows in strips(len(levels)):
        values[rows] = low + levels[rows].astype(np.float64) / 65535 * (high - low)
    return values
