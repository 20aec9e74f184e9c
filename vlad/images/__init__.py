"""Convert image files to upright 8-bit RGB, and these to the backbone's input pixels.

The rules are fixed, never a contrast stretch per image, so that scores of images stay comparable:

- 16-bit samples keep their high byte, or the top 8 of `bits` significant bits (`bits=12` for a
  12-bit camera; TIFFs with 12 bits or a MaxSampleValue state it themselves); larger values become
  white.
- Floating-point samples must be in [0, 1], which becomes 0…255.
- Transparent images are laid over white; embedded colour profiles are ignored.
- Grey DICOM uses the window in the file, or else the range of its stored bits.
- The first of several pages or frames is used; EXIF orientation is applied.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO, Union

import numpy as np
from PIL import Image

from vlad.errors import ImageError
from vlad.images.decode import DEEP_COLOUR, DEFAULT_MAX_PIXELS, check_size, decode
from vlad.images.deep import name_planes
from vlad.images.masks import read_mask, resize_mask
from vlad.images.stored import grey_samples, stated_bits, turn_upright
from vlad.system.numbers import check_count
from vlad.types import Interpolation, Resize

if TYPE_CHECKING:
    import torch
    from typing_extensions import TypeIs

# accepted by `as_image`; torch is not imported for this
ImageLike = Union[str, os.PathLike[str], bytes, BinaryIO, Image.Image, np.ndarray, "torch.Tensor"]

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "ImageLike",
    "as_image",
    "check_reading",
    "is_image",
    "read_image",
    "read_mask",
    "resize_mask",
    "to_pixels",
]


def read_image(
    path: str | os.PathLike[str] | BinaryIO,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    bits: int = 16,
    name: str | None = None,
) -> Image.Image:
    """Read an image file as upright 8-bit RGB; the format is detected from the content.

    Args:
        path: PNG, JPEG, BMP, TIFF, WebP, GIF, PPM, JPEG 2000 or AVIF file, HEIC or DICOM with the
            extra `formats`, or a file object open in binary.
        max_pixels: larger images are refused before decoding.
        bits: significant bits, 9 to 16, of 16-bit images that do not state them.
        name: name in errors; None is its path.

    Raises:
        ImageError: missing, unreadable, damaged, too large, a side under 8 pixels, or samples
            without a fixed meaning in 8 bits.
        InputError: `max_pixels` or `bits` out of range.
    """
    check_reading(max_pixels, bits)
    image = decode(path, max_pixels, name)
    return _to_rgb(image, bits, f"cannot use {name or path}")


def as_image(
    image: ImageLike, *, max_pixels: int = DEFAULT_MAX_PIXELS, bits: int = 16
) -> Image.Image:
    """Convert one image of any kind to upright 8-bit RGB.

    Args:
        image: path; the content of an image file as `bytes`, or a file open in binary; PIL image of
            any mode; array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) in RGB(A) order; or torch
            tensor (1, H, W), (3, H, W) or (4, H, W) on any device. Values of arrays and tensors are
            uint8, uint16 or floating point in [0, 1], before normalisation.
        max_pixels: as in `read_image`; applies to files only.
        bits: as in `read_image`.

    Raises:
        ImageError: as `read_image`, or an object of another kind, shape, dtype or range.
        InputError: `max_pixels` or `bits` out of range.
    """
    check_reading(max_pixels, bits)
    if isinstance(image, str | os.PathLike):
        return read_image(image, max_pixels=max_pixels, bits=bits)
    if isinstance(image, bytes):
        return _from_file(io.BytesIO(image), max_pixels, bits)
    if _is_file(image):
        return _from_file(image, max_pixels, bits)
    if isinstance(image, Image.Image):
        where = f"cannot use the given {image.mode} image"
        check_size(image.size, where)
        try:
            name_planes(image)
            image.load()  # an image from Image.open is decoded only now
        except Exception as error:
            raise ImageError(f"{where}: it is damaged ({error}); read it again.") from error
        return _to_rgb(image, bits, where)
    if isinstance(image, np.ndarray):
        return _from_array(image, bits)
    if _is_tensor(image):
        return _from_tensor(image, bits)
    raise ImageError(
        f"cannot use a {type(image).__name__} as an image; "
        "give a path, bytes, an open file, a PIL image, a numpy array or a torch tensor."
    )


def check_reading(max_pixels: int, bits: int) -> None:
    """Raise an InputError if `max_pixels` or `bits` is out of range."""
    check_count("max_pixels", max_pixels, 1)
    check_count("bits", bits, 9, 16)


def is_image(given: object) -> TypeIs[ImageLike]:
    """Return whether `as_image` accepts it; false for lists and batches (B, ...) of images."""
    if isinstance(given, np.ndarray) or _is_tensor(given):
        return given.ndim != 4
    return isinstance(given, str | os.PathLike | bytes | Image.Image) or _is_file(given)


def to_pixels(
    image: Image.Image,
    size: int | tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
    resize: Resize = "pil",
    interpolation: Interpolation = "bicubic",
) -> np.ndarray:
    """The whole image, squashed to the backbone's input size and normalised.

    Args:
        image: RGB.
        size: side, or (H, W), in pixels.
        mean, std: per channel, of pixels in [0, 1].
        resize: "pil" is on 8-bit pixels, as in CLIP's training, "pil_bilinear" the same whatever
            the interpolation; "float" is antialiased bicubic on
            float pixels, without rounding or clipping (torchvision v2 on tensors).
        interpolation: of "pil", by Pillow's names.

    Returns:
        (3, H, W) float32.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if resize != "float":
        interpolation = "bilinear" if resize == "pil_bilinear" else interpolation
        image = image.resize((width, height), Image.Resampling[interpolation.upper()])
        # channels first while still bytes, and the rest in place: half the time
        pixels = np.asarray(image).transpose(2, 0, 1).astype(np.float32, order="C")
        pixels /= 255
    else:
        import torch

        tensor = torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1)[None]
        tensor = torch.nn.functional.interpolate(
            tensor, (height, width), mode="bicubic", align_corners=False, antialias=True
        )
        pixels = np.ascontiguousarray(tensor[0].numpy())
    pixels -= np.asarray(mean, np.float32)[:, None, None]
    pixels /= np.asarray(std, np.float32)[:, None, None]
    return pixels


def _to_rgb(image: Image.Image, bits: int, where: str) -> Image.Image:
    """Any decoded image as upright RGB without metadata, so it is not rotated twice."""
    turn = turn_upright(image)
    if grey := grey_samples(image):
        if grey.bits and grey.samples.max() >= 2**grey.bits:
            raise ImageError(
                f"{where}: it states {grey.bits} bits (MaxSampleValue) and has values up to "
                f"{grey.samples.max()}; correct one of them, or save it as 8 bits."
            )
        values = _to_8bit(grey.samples, grey.bits or bits, where)
        image = Image.fromarray(255 - values if grey.inverted else values)
    elif image.info.get(DEEP_COLOUR) and (bits := stated_bits(image) or bits) < 16:
        raise ImageError(
            f"{where}: 16-bit colour is read by its high bytes, so it cannot be read as {bits} "
            "bits; save it as 8-bit RGB."
        )
    deep_colour = image.info.get(DEEP_COLOUR)
    try:
        if image.has_transparency_data:
            image = _over_white(image.convert("RGBA"), where)
        image = image.convert("RGB")
    except ValueError as error:
        raise ImageError(
            f"{where}: its colour mode {image.mode} is not supported; save it as RGB."
        ) from error
    if deep_colour:
        _warn_if_dark(int(np.max(image.getextrema())) < 16)
    if turn is not None:
        image = image.transpose(turn)
    image.info = {}
    return image


def _over_white(image: Image.Image, where: str) -> Image.Image:
    lowest, highest = image.getchannel("A").getextrema()
    if highest == 0:
        raise ImageError(
            f"{where}: it is transparent everywhere; save it without the alpha channel."
        )
    if lowest == 255:
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _to_8bit(samples: np.ndarray, bits: int, where: str) -> np.ndarray:
    """Convert integers of 16 bits, or floats in [0, 1], to uint8 by the module's rules."""
    integers = samples.dtype.kind in "iu"
    low, high = samples.min(), samples.max()
    if not (low >= 0 and high <= (65535 if integers else 1)):  # written so that NaN fails
        wanted = "integers from 0 to 65535" if integers else "floats from 0 to 1"
        raise ImageError(
            f"{where}: its values range from {low:g} to {high:g}, but only {wanted} have a fixed "
            "meaning; rescale all images in the same way."
        )
    if not integers:
        return np.rint(samples * 255).astype(np.uint8)
    if bits == 16:
        _warn_if_dark(0 < high < 4096)
    return np.minimum(samples >> (bits - 8), 255).astype(np.uint8)


def _warn_if_dark(dark: bool) -> None:
    if dark:
        warnings.warn(
            "16-bit images without values above 4095 become almost black; for a 12-bit camera, set "
            "bits=12 or save 8-bit images.",
            stacklevel=2,
        )


def _is_file(given: object) -> TypeIs[BinaryIO]:
    return hasattr(given, "read")


def _is_tensor(given: object) -> TypeIs[torch.Tensor]:
    loaded = sys.modules.get("torch")  # there are no tensors before
    return loaded is not None and isinstance(given, loaded.Tensor)


def _from_file(file: BinaryIO, max_pixels: int, bits: int) -> Image.Image:
    name = getattr(file, "name", None)
    name = name if isinstance(name, str) else f"the given {type(file).__name__}"
    if isinstance(file, io.TextIOBase):
        raise ImageError(f"cannot read {name}: it is open as text; give a file open in binary.")
    if not file.seekable():  # a pipe or a download
        file = io.BytesIO(file.read())
    return read_image(file, max_pixels=max_pixels, bits=bits, name=name)


def _from_tensor(tensor: torch.Tensor, bits: int) -> Image.Image:
    where = f"cannot use the given {tensor.dtype} tensor of shape {tuple(tensor.shape)}"
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4):
        raise ImageError(f"{where}: give one image, (3, H, W), or (1, H, W) for grey.")
    if tensor.is_floating_point():
        tensor = tensor.float()  # numpy has no bfloat16
    return _from_array(tensor.detach().cpu().permute(1, 2, 0).numpy(), bits, where)


def _from_array(array: np.ndarray, bits: int, where: str = "") -> Image.Image:
    where = where or f"cannot use the given {array.dtype} array of shape {array.shape}"
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ImageError(f"{where}: give one image, (H, W), (H, W, 3) or (H, W, 4).")
    if array.dtype not in (np.uint8, np.uint16) and array.dtype.kind != "f":
        raise ImageError(f"{where}: give values in uint8, uint16, or floats from 0 to 1.")
    check_size(array.shape[1::-1], where)
    if array.dtype != np.uint8:
        array = _to_8bit(array, bits, where)
    return _to_rgb(Image.fromarray(np.ascontiguousarray(array)), bits, where)
