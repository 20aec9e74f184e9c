"""Open the images of a run, which may lie in an object store."""

from __future__ import annotations

import io
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem
from PIL import Image

from vlad.errors import ImageError
from vlad.images import DEFAULT_MAX_PIXELS, read_image
from vlad.images.limits import BYTES_A_PIXEL, SLACK
from vlad.system.text import shown


def most_bytes(max_pixels: int) -> int:
    """The largest file that an image of so many pixels should have."""
    return BYTES_A_PIXEL * max_pixels + SLACK


def fetch(url: str, most: int) -> str | io.BytesIO:
    """The content of an object; or the path of a local file, which could be a pipe.

    Args:
        most: bytes; of a larger object one byte more is read, so that it is refused.

    Raises:
        ImageError: it cannot be fetched.
    """
    try:
        store, name = fsspec.url_to_fs(url)
        if isinstance(store, LocalFileSystem):
            return name
        with store.open(name, "rb") as file:
            return io.BytesIO(file.read(most + 1))
    except Exception as error:  # each kind of store has errors of its own
        raise ImageError(
            f"cannot read {url} ({shown(error) or type(error).__name__}); check its address."
        ) from error


def read_listed(path: str | Path, bits: int = 16) -> Image.Image:
    """Read an image by its path or URL, as `vlad.images.read_image` does.

    Raises:
        ImageError: as there, or it cannot be fetched.
    """
    url = str(path)
    content = fetch(url, most_bytes(DEFAULT_MAX_PIXELS)) if "://" in url else url
    return read_image(content, bits=bits, name=url)
