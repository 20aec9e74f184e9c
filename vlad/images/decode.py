"""Image files to Pillow images, with one clear sentence for each file that cannot be used."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO

from PIL import (  # noqa: F401
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from vlad.errors import ImageError
from vlad.images.deep import is_deep, name_planes, want_low_bytes
from vlad.images.limits import Reads, check_file, check_parts
from vlad.system.text import shown

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000")
SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".jpf", ".jpx", ".heic", ".heif"}
    | {".hif", ".dcm", ".dicom"}
)
_EXTRA = ("HEIC", "DICOM")  # with the optional packages
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}  # brands of the files
DEFAULT_MAX_PIXELS = 100_000_000
MIN_SIDE = 8  # below half a patch there is nothing to look at, and resizing would invent it
DEEP_COLOUR = "vlad: 16 bits a colour"  # key in Image.info; Pillow has kept the high bytes only

with suppress(ImportError):  # of Pillow before 11.3
    from PIL import AvifImagePlugin  # noqa: F401
Image.preinit()  # with the plugins above, Image.OPEN now has all of FORMATS


def decode(
    path: str | os.PathLike[str] | BinaryIO,
    max_pixels: int,
    name: str | None = None,
    *,
    low_bytes: bool = False,
) -> Image.Image:
    """Decode the first page of an image file, in the mode that Pillow gives it.

    Args:
        path: the file, or one that is open for reading in binary; that stays open.
        name: what errors call it; None is its path.
        low_bytes: of PNG and TIFF with 16 bits a colour, keep these and not the high ones, as RGB.

    Raises:
        ImageError: missing, unreadable, of no format that is read here, damaged, over `max_pixels`
            or costly out of proportion (both told before decoding), or with a side under MIN_SIDE.
    """
    where = f"cannot read {name or path}"
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ImageError(
            f"{where}: PIL.ImageFile.LOAD_TRUNCATED_IMAGES has been switched on, so a cut-off "
            "image would pass with grey in place of the rest; set it to False."
        )
    with _open(path, where) as file:
        kind = "image"
        try:
            kind = _format(file, where)
            opener = _opener(kind, where)
            check_file(file, kind, max_pixels)
            reads: Any = Reads(file)  # as much of a file as Pillow's plugins need
            image = opener(reads, "")  # without a file name Pillow maps no memory
            check_size(image.size, where)
            width, height = image.size
            if width * height > max_pixels:
                raise ImageError(
                    f"{where}: its {width}×{height} = {width * height:,} pixels are over the "
                    f"limit of {max_pixels:,}; shrink or tile it, or raise the limit (max_pixels)."
                )
            check_parts([tile[1] for tile in image.tile if tile[1]], image.size)
            deep = is_deep(image, file)
            name_planes(image)
            low = want_low_bytes(image) if low_bytes else ""
            reads.allow(kind, width * height)
            image.load()
            if low:
                image = Image.merge("RGB", [image.getchannel(name) for name in low])
        except ImageError:
            raise
        except Image.DecompressionBombError as error:
            raise ImageError(
                f"{where}: Pillow decodes no {kind} of so many pixels; save it as PNG, or shrink "
                "or tile it."
            ) from error
        except MemoryError as error:
            raise ImageError(f"{where}: out of memory while decoding it; shrink it.") from error
        except Exception as error:  # on a broken file Pillow raises nearly anything
            raise ImageError(
                f"{where}: this {kind} file is cut short, damaged or of an unsupported kind "
                f"({shown(error)}); copy it again, or save it as 8-bit PNG."
            ) from error
    image.info[DEEP_COLOUR] = deep and image.mode != "I" and not image.mode.startswith("I;16")
    return image


def is_image_name(name: str) -> bool:
    """Whether the name has the suffix of an image and is not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def check_size(size: tuple[int, int], where: str) -> None:
    """Raise ImageError if (W, H) has a side under MIN_SIDE; `where` begins the sentence."""
    if min(size) < MIN_SIDE:
        raise ImageError(
            f"{where}: {size[0]}×{size[1]} pixels are too few to score; give {MIN_SIDE} or more a "
            "side."
        )


def _open(path: str | os.PathLike[str] | BinaryIO, where: str) -> AbstractContextManager[BinaryIO]:
    empty = f"{where}: the file is empty (0 bytes); copy it again."
    if not isinstance(path, str | os.PathLike):
        if path.seek(0, os.SEEK_END) == 0:
            raise ImageError(empty)
        path.seek(0)
        return nullcontext(path)
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{where}: it is a folder; give the images in it.")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise ImageError(f"{where}: it is not a regular file; give an image file.")
        if status.st_size == 0:
            raise ImageError(empty)
        return Path(path).open("rb")
    except FileNotFoundError as error:
        raise ImageError(f"{where}: there is no such file; check the path.") from error
    except PermissionError as error:
        raise ImageError(
            f"{where}: permission denied; let the user who runs this read it."
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{where}: {reason}; check the path and the disk.") from error


def _format(file: BinaryIO, where: str) -> str:
    """Tell the format from the content, as Image.open does.

    Image.open itself also applies Image.MAX_IMAGE_PIXELS, a global that cannot be set aside
    without racing with other threads' readers.
    """
    start = file.read(512)
    file.seek(0)
    prefix = start[:16]
    if prefix[4:8] == b"ftyp":
        length = min(int.from_bytes(prefix[:4], "big"), len(start))
        brands = {start[at : at + 4] for at in range(8, length, 4)}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & _HEIC:
            return "HEIC"
    if start[128:132] == b"DICM":
        return "DICOM"
    for name in FORMATS:
        accept = Image.OPEN[name][1]
        if accept and len(prefix) == 16 and accept(prefix) is True:
            return name
    known = ", ".join((*FORMATS, "AVIF", *_EXTRA))
    raise ImageError(
        f"{where}: its content is no image ({known} are read); convert it or leave it out."
    )


def _opener(kind: str, where: str) -> Callable[[Any, str], Any]:
    """What opens a file of this format and decodes it only when it is loaded."""
    try:
        if kind == "DICOM":
            from vlad.images.dicom import DicomImage

            return DicomImage
        if kind == "HEIC":
            from pillow_heif import HeifImageFile

            return HeifImageFile
    except ImportError as error:
        raise ImageError(
            f"{where}: {kind} files need {error.name}; install it with `pip install "
            "'vlad-vision[formats]'`, or convert them."
        ) from error
    if kind not in Image.OPEN:
        raise ImageError(f"{where}: this Pillow reads no {kind}; get a newer one, or convert it.")
    return Image.OPEN[kind][0]
