"""The frames that show the events of a run over video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image

from vlad.errors import ImageError, InputError
from vlad.images import read_image
from vlad.images.video import Chosen, read_frames
from vlad.report.timeline import Peak, strongest
from vlad.results.eventtable import Found
from vlad.runs.frames import Footage

_PEAK = 640  # pixels, longer side of a frame in the strip


def read_peaks(
    found: Sequence[Found], videos: Mapping[str, Footage], max_pixels: int
) -> dict[int, Peak]:
    """The frames for the strip of the report, small; one that cannot be read again is left out.

    Args:
        found: events of the run.
        videos: source -> its video.
        max_pixels: as in `Setup`.

    Returns:
        place of an event -> its frame, and the size before it was made small.
    """
    wanted: dict[str, dict[int, list[int]]] = {}
    peaks: dict[int, Peak] = {}
    for place in strongest(found):
        one = found[place]
        path = Path(one.series.paths[one.shown])
        if videos[one.series.source].video.live:  # gone, unless the frame was kept
            with suppress(ImageError):
                peaks[place] = _small(read_image(path, max_pixels=max_pixels))
            continue
        wanted.setdefault(one.series.source, {}).setdefault(int(path.stem), []).append(place)
    for source, numbers in wanted.items():
        chosen = Chosen(frozenset(numbers))
        with suppress(InputError):
            for frame in read_frames(videos[source].video, lambda _: None, chosen):
                with suppress(ImageError):
                    peak = _small(frame.image(max_pixels, source))
                    peaks |= dict.fromkeys(numbers[frame.number], peak)
    return peaks


def _small(image: Image.Image) -> Peak:
    size = image.size
    image.thumbnail((_PEAK, _PEAK))
    return image, size
