"""The frames that show the events of a run over video."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from vlad.errors import ImageError, InputError
from vlad.images import read_image
from vlad.images.video import Chosen, read_frames
from vlad.report.timeline import Peak, strongest
from vlad.results.eventtable import Found
from vlad.runs.frames import Footage


def read_peaks(
    found: Sequence[Found], videos: Mapping[str, Footage], max_pixels: int
) -> dict[int, Peak]:
    """The frames for the strip of the report, small. Of a file, those that show their events best;
    of a live source that frame or, if it was not kept, the kept one with the highest score.

    An event is left out if its frame cannot be read again, or none of a live one was kept.

    Args:
        found: events of the run.
        videos: source -> its video.
        max_pixels: as in `Setup`.

    Returns:
        place of an event -> its frame.
    """
    wanted: dict[str, dict[int, list[int]]] = {}
    peaks: dict[int, Peak] = {}
    for place in strongest(found):
        one = found[place]
        if videos[one.series.source].video.live:
            if (kept := _kept(one)) is not None:
                with suppress(ImageError):
                    image = read_image(Path(one.series.paths[kept]), max_pixels=max_pixels)
                    peaks[place] = Peak.of(image, kept)
            continue
        number = int(Path(one.series.paths[one.shown]).stem)
        wanted.setdefault(one.series.source, {}).setdefault(number, []).append(place)
    for source, numbers in wanted.items():
        chosen = Chosen(frozenset(numbers))
        with suppress(InputError):
            for frame in read_frames(videos[source].video, lambda _: None, chosen):
                with suppress(ImageError):
                    image = frame.image(max_pixels, source)
                    for place in numbers[frame.number]:
                        peaks[place] = Peak.of(image, found[place].shown)
    return peaks


def _kept(one: Found) -> int | None:
    """The frame of a live event that shows it best, of those that were kept."""
    first, last = one.event.first, one.event.last
    scores = one.series.scores[one.head][first : last + 1]
    best = [one.shown, *(first + np.argsort(-scores, kind="stable")).tolist()]
    return next((frame for frame in best if os.path.exists(one.series.paths[frame])), None)
