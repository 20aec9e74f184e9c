"""What may be read as video, and what it is called where a password must not be seen."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from vlad.errors import InputError
from vlad.images.decode import is_image_name

SCHEMES = ("rtsp", "rtsps", "http", "https")
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_DEVICE = re.compile(r"/dev/video\d+")


@dataclass(frozen=True)
class Video:
    """A video file, a stream or a camera.

    Attributes:
        address: what PyAV opens; that of a stream may hold a password.
        name: what sentences and files call it, without user name, password and query.
        live: whether its frames come at their own time, so that those not taken are lost.
        device: PyAV's name of the kind of camera; None for files and streams.
        rate: images a second of a folder of frames; None for everything else.
    """

    address: str = field(repr=False)
    name: str
    live: bool
    device: str | None = None
    rate: float | None = None

    @classmethod
    def of_folder(cls, folder: Path, rate: float) -> Video:
        """That of a folder of frames, images in the order of their names, `rate` a second."""
        return cls(os.path.abspath(folder), str(folder), live=False, rate=rate)

    @classmethod
    def of(cls, given: str) -> Video | None:
        """That of a path, a URL, or the number of a camera; None for anything else, such as a
        folder.

        Raises:
            InputError: a URL of another kind or without a host, or a camera number on Windows.
        """
        if scheme := _URL.match(given):
            return cls._stream(given, scheme[1].lower())
        if _DEVICE.fullmatch(given):
            return cls(given, given, live=True, device="v4l2")
        path = Path(given).expanduser()
        if given.isascii() and given.isdigit() and not path.exists():
            return cls._camera(int(given))
        if path.is_file() and not is_image_name(path.name):
            return cls(os.path.abspath(path), str(path), live=False)
        return None

    @classmethod
    def _stream(cls, url: str, scheme: str) -> Video:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:  # such as a port that is not a number
            host = port = None
        if scheme not in SCHEMES or not host:
            raise InputError(
                f"A source that begins with {scheme}:// is not a stream with a host; give one such "
                "as rtsp://camera:554/line or http://camera/line."
            )
        place = f"[{host}]" if ":" in host else host
        return cls(url, f"{place}:{port}{parts.path}" if port else place + parts.path, live=True)

    @classmethod
    def _camera(cls, number: int) -> Video:
        if sys.platform == "win32":
            raise InputError(
                f"Camera {number} cannot be opened by its number on Windows; give the URL of a "
                "stream."
            )
        if sys.platform == "darwin":
            return cls(str(number), f"camera {number}", live=True, device="avfoundation")
        return cls(f"/dev/video{number}", f"/dev/video{number}", live=True, device="v4l2")
