"""The frames of a video file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from vlad.errors import InputError
from vlad.images.video.frame import Frame
from vlad.images.video.opening import check_installed, decoded, failures, opened, reason
from vlad.images.video.source import Video
from vlad.system.text import counted

if TYPE_CHECKING:
    import av

_EARLY = 1.0  # seconds that a video may end before its stated end, besides a tenth of it


def check_video(video: Video) -> None:
    """Raise an InputError if PyAV is missing, or if this is a file that holds no video."""
    check_installed(video.name)
    if not video.live:
        _opened(video).close()


def read_frames(video: Video, say: Callable[[str], None]) -> Iterator[Frame]:
    """The frames of a video file, in order; damaged parts are left out and counted.

    `time` is the creation time in the file plus the position; without one, the file's last change
    counts as the end of the recording.

    Args:
        say: called at the end with a sentence if the file ends early or has damaged parts.

    Raises:
        InputError: PyAV is missing, the file cannot be opened as video, has no video stream, or
            no frame.
    """
    check_installed(video.name)
    damaged: Counter[str] = Counter()
    ends = ""
    number = -1
    seconds = 0.0
    with _opened(video) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"  # a live source would lag behind by a frame a thread
        step = 1 / float(stream.average_rate or 25)
        stated = max((container.duration or 0) / 1e6, stream.frames * step)
        began = _created(container.metadata.get("creation_time"))
        if began is None:
            length = stated or _length(video, step)
            began = os.stat(video.address).st_mtime_ns - round(length * 1e9)
        first = None
        try:
            for number, frame in enumerate(filter(None, decoded(container, damaged))):
                at = frame.time
                first = at if first is None else first
                # a frame without a time stamp comes one step after the last
                seconds = at - first if at is not None else seconds + step * (number > 0)
                yield Frame(frame, number, seconds, began + round(seconds * 1e9))
        except failures() as error:
            ends = reason(error)
    if number < 0:
        why = f": {counted(damaged['part'], 'part')} cannot be decoded" if damaged else ""
        raise InputError(f"{video.name} has no frame of video{why}; check the file.")
    if stated - (seconds + step) > max(_EARLY, stated / 10):
        ends = ends or f"its header says {stated:.1f} s"
    if ends:
        say(f"{video.name} ends early, after {seconds + step:.1f} s ({ends}).")
    for what, count in (+damaged).items():
        say(f"{video.name}: {counted(count, f'damaged {what}')} left out.")


def _opened(video: Video) -> av.container.InputContainer:
    try:
        container = opened(video)
    except failures() as error:
        raise InputError(
            f"{video.name} cannot be read as video ({reason(error)}); check the file, or convert "
            "it to MP4."
        ) from error
    if not container.streams.video:
        container.close()
        raise InputError(f"{video.name} has no video stream; give a file with video.")
    return container


def _created(stated: str | None) -> int | None:
    """The creation time in a file, in ns since 1970; None if there is none."""
    try:
        at = datetime.fromisoformat((stated or "").replace("Z", "+00:00"))
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=timezone.utc)
    return round(at.timestamp() * 1e9)


def _length(video: Video, step: float) -> float:
    """Seconds of a file whose header states none, such as a recording that was cut off.

    Args:
        step: seconds from one frame to the next, for parts without time stamps.
    """
    times: list[float] = []
    with _opened(video) as container, suppress(*failures()):
        for packet in container.demux(container.streams.video[0]):
            if packet.size:  # the last one is empty
                at = packet.pts
                times.append(len(times) * step if at is None else float(at * packet.time_base))
    return max(times) - min(times) + step if times else 0.0
