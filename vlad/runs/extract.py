"""The frames of videos as image files, so that a run over images scores them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from vlad.errors import ImageError, InputError
from vlad.images.video import Changes, Frame
from vlad.images.video.ahead import read_ahead
from vlad.images.video.file import read_frames
from vlad.runs.clips import check_names
from vlad.runs.frames import FOLDER, Footage
from vlad.system.files import atomic_write
from vlad.types import Sample


def write_frames(
    clips: Sequence[Footage], out: Path, max_pixels: int, say: Callable[[str], None]
) -> list[Sample]:
    """Write the due frames of video files below `out`/frames, as `vlad watch` names them; a file
    that is there already is kept, and a frame that cannot be used is left out and said.

    Args:
        say: called with a sentence about a clip.

    Raises:
        InputError: two clips of one name, or one that cannot be read as video.
        OutputError: a file cannot be written.
    """
    check_names(clips)
    samples = []
    for footage in clips:
        name = os.path.basename(footage.video.name.rstrip("/"))
        changes = Changes(footage.changes)

        def frames(footage: Footage = footage):
            return read_frames(footage.video, say, footage.sampling)

        with read_ahead(frames) as found:
            for frame in found:
                if not changes(frame):
                    continue
                path = out / FOLDER / name / f"{frame.number:06}.png"
                try:
                    _write(frame, path, max_pixels)
                except ImageError as error:
                    say(f"Left out: {error}")
                    continue
                samples.append(Sample(path, f"{name}/{frame.number:06}"))
    if not samples:
        raise InputError(f"{clips[0].video.name} has no frame that can be used; check the file.")
    return samples


def _write(frame: Frame, path: Path, max_pixels: int) -> None:
    """Write a frame without loss, as last changed when it was captured."""
    if path.exists() and path.stat().st_mtime_ns == frame.time:
        return
    image: Image.Image = frame.image(max_pixels, str(path))
    atomic_write(path, lambda file: image.save(file, "PNG", compress_level=1))
    os.utime(path, ns=(frame.time, frame.time))
