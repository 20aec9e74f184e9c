"""Changes between frames of normal footage as image files, for heads to compare with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from vlad.errors import InputError
from vlad.images.video import Changes, read_frames
from vlad.images.video.change import change_of
from vlad.results.folder import RunFolder
from vlad.runs.frames import Footage
from vlad.scoring.setup import Setup
from vlad.system.files import atomic_write
from vlad.system.text import counted
from vlad.types import Sample

FOLDER = "normal_changes"  # of a run
MOST = 100  # kept of a video, at least half as many, evenly spaced
# changes kept at least where they are cut into tiles, which count then: each is compared with all
IN_TILES = 16


def write_changes(footage: Footage, folder: Path, setup: Setup, say: Callable[[str], None]) -> None:
    """Write how due frames of a video differ from those before, as images into a folder.

    Args:
        say: called with a sentence if images are cut into tiles.

    Raises:
        InputError: the video cannot be read, or has fewer than two frames that are due.
        ImageError: a frame is too large or too small.
        OutputError: a file cannot be written.
    """
    changed = Changes(footage.changes)
    before: Image.Image | None = None
    kept: list[tuple[int, Image.Image]] = []
    step, place = 1, 0
    for frame in read_frames(footage.video, lambda _: None, footage.sampling):
        if not changed(frame):
            continue
        image = frame.image(setup.max_pixels, footage.video.name)
        tiles = len(setup.tiling.boxes(image.size))
        most = max(IN_TILES, MOST // tiles)
        if before is not None:
            if place % step == 0:
                kept.append((frame.number, change_of(image, before)))
            place += 1
        if len(kept) > most:
            kept, step = kept[::2], 2 * step
        before = image
    if not kept:
        raise InputError(
            f"{footage.video.name} has fewer than two frames to compare; give a longer video."
        )
    if tiles > 1:
        say(
            f"{footage.video.name}: motion is compared with {counted(len(kept), 'change')}, cut "
            f"into {tiles} tiles each."
        )
    for number, image in kept:
        path = folder / f"{number:06}.png"
        atomic_write(path, lambda file, image=image: image.save(file, "PNG"))  # type: ignore[misc]


def keep_changes(written: Sequence[Sample], folder: RunFolder) -> None:
    """Copy what `write_changes` wrote into a run, in place of those of an earlier command.

    Raises:
        OutputError: a file cannot be written.
    """
    folder.drop(FOLDER)
    for sample in written:
        atomic_write(folder.out / FOLDER / sample.path.name, sample.path.read_bytes())
