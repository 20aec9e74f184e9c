"""Ground-truth masks from files."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from vlad.errors import ImageError, VladError
from vlad.images.decode import DEEP_COLOUR, DEFAULT_MAX_PIXELS, decode, is_image_name
from vlad.images.stored import grey_samples, turn_upright
from vlad.types import Sample

_LOSSY = ("JPEG", "MPO", "AVIF", "HEIF", "JPEG2000", "jpeg", "tiff_jpeg", "webp")
_NOISE = 4  # what is darker than this part of the brightest value is noise of a lossy file
_LEVELS = 16  # grey values of a mask; label images hold fewer


def read_mask(
    path: str | os.PathLike[str],
    size: tuple[int, int] | None = None,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> np.ndarray:
    """Ground-truth mask, upright: whatever is not black is defect.

    Of lossy files (JPEG, ...), only what is brighter than a quarter of the brightest value. A
    UserWarning says where this, or more than 16 grey values, leave room for doubt.

    Args:
        path: image of any mode; transparent parts are not defect. Or a folder of images of one
            size, whose union is the mask.
        size: (H, W) to bring it to, bilinear and then > 0.5, as published results do; None
            keeps the file's own.
        max_pixels: as in `read_image`.

    Returns:
        (H, W) bool.

    Raises:
        ImageError: as `read_image`, samples that cannot be told apart from black, or a folder
            that holds no image or several sizes.
    """
    mask: np.ndarray | None = None
    for file in mask_files(path):  # one at a time, however many there are
        part = _read(file, max_pixels)
        if mask is not None and part.shape != mask.shape:
            mask = None
            break
        mask = part if mask is None else mask | part
    if mask is None:
        raise ImageError(f"cannot use {path}; put PNG masks of one size in the folder.")
    return mask if size is None else resize_mask(mask, size)


def mask_files(path: str | os.PathLike[str]) -> list[Path]:
    """The files of a mask: itself, or the images in a folder, sorted."""
    if not os.path.isdir(path):
        return [Path(path)]
    return sorted(file for file in Path(path).glob("*") if is_image_name(file.name))


def resize_mask(mask: np.ndarray, size: tuple[int, int], above: float = 0.5) -> np.ndarray:
    """A mask (H, W) brought to another (H, W), bilinear and then > `above`."""
    if mask.shape == tuple(size):
        return mask
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR)) > int(255 * above)


def lost_regions(mask: np.ndarray, shrunk: np.ndarray) -> int:
    """How many regions of a mask have no pixel in what `resize_mask` made of it."""
    from scipy import ndimage  # not wherever images are read

    if mask.shape == shrunk.shape:
        return 0
    image = Image.fromarray(mask.astype(np.float32))
    touched = np.asarray(image.resize(shrunk.shape[::-1], Image.Resampling.BOX)) > 0
    labels, count = ndimage.label(touched, np.ones((3, 3)))
    return count - np.count_nonzero(np.unique(labels[shrunk]))


def check_fit(
    mask: np.ndarray, sample: Sample, size: tuple[int, int], error: type[VladError]
) -> None:
    """Raise the error if the mask (H, W) has other proportions than its image of (W, H)."""
    (height, width), (w, h) = mask.shape, size
    # a side may have been rounded, up or down
    if min(abs(width - height * w / h), abs(height - width * h / w)) >= 1:
        raise error(
            f"the mask {sample.mask} has {width}×{height} pixels, but its image {sample.path} has "
            f"{w}×{h}; correct one of them, or remove the image."
        )


def _read(path: Path, max_pixels: int) -> np.ndarray:
    image = decode(path, max_pixels)
    turn = turn_upright(image)
    deep = image.info[DEEP_COLOUR]
    if image.format == "DICOM" or (deep and (image.mode == "CMYK" or image.format == "JPEG2000")):
        raise ImageError(f"cannot use {path} as a mask; save it as 8-bit PNG.")
    values = _values(image, path)
    mask = values != 0
    if deep:
        mask |= np.asarray(decode(path, max_pixels, low_bytes=True)).any(-1) & _opaque(image)
    elif _is_lossy(image, path):
        mask = values > values.max() // _NOISE
        if np.count_nonzero(mask) < np.count_nonzero(values):
            warnings.warn(
                "Masks in lossy files (JPEG, ...): values up to a quarter of the brightest count "
                "as normal; save masks as PNG.",
                stacklevel=3,
            )
    elif (
        values.dtype == np.uint8 and np.count_nonzero(Image.fromarray(values).histogram()) > _LEVELS
    ):
        warnings.warn(
            f"Masks with more than {_LEVELS} grey values: all but black count as defect; if they "
            "were lossy once or have soft edges, save them in black and white.",
            stacklevel=3,
        )
    return mask if turn is None else np.asarray(Image.fromarray(mask).transpose(turn))


def _values(image: Image.Image, path: Path) -> np.ndarray:
    """(H, W); 0 where the mask is black or transparent."""
    if grey := grey_samples(image):
        samples, clear = grey.samples, image.info.get("transparency")
        if not samples.min() >= 0:  # written so that NaN fails
            raise ImageError(
                f"cannot use {path} as a mask: it has values below 0 or not a number; save it as "
                "8-bit PNG."
            )
        if grey.inverted:
            samples = (1 if samples.dtype.kind == "f" else 2 ** (grey.bits or 16) - 1) - samples
        return samples if clear is None else np.where(samples == clear, 0, samples)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return np.asarray(image)[..., :3].max(-1) * _opaque(image)
    if image.mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")
    values = np.asarray(image)
    return values.max(-1) if values.ndim == 3 else values


def _opaque(image: Image.Image) -> np.ndarray | bool:
    """(H, W), or True for all."""
    return image.mode != "RGBA" or np.asarray(image.getchannel("A")) > 0


def _is_lossy(image: Image.Image, path: Path) -> bool:
    if image.format == "WEBP":  # two formats in one
        with path.open("rb") as file:
            return b"VP8L" not in file.read(2**16)
    return image.format in _LOSSY or image.info.get("compression") in _LOSSY
