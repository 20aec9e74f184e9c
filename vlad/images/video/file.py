"""The frames of a video file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from vlad.errors import InputError
from vlad.images.video.frame import Frame
from vlad.images.video.index import Index, Place, wanted_frames
from vlad.images.video.opening import check_installed, decoded, failures, opened, reason
from vlad.images.video.sampling import Chosen, Sampling
from vlad.images.video.source import Video
from vlad.images.video.stills import read_stills
from vlad.system.text import counted

if TYPE_CHECKING:
    import av

_EARLY = 1.0  # seconds that a video may end before its stated end, besides a tenth of it


def check_video(video: Video) -> None:
    """Raise an InputError if PyAV is missing, or if this is a file that holds no video."""
    check_installed(video.name)
    if not video.live:
        _opened(video).close()


def count_frames(video: Video, sampling: Sampling) -> int:
    """How many frames are due, damaged ones among them.

    The packets of a file are read, for the rate that it states may not be that of its frames.

    Raises:
        InputError: as `read_frames`.
    """
    if video.rate is not None:
        return sum(1 for _ in sampling(read_stills(video)))
    with _opened(video) as container:
        step = 1 / float(container.streams.video[0].average_rate or 25)
    times = _times(video, step)
    return sum(1 for _ in sampling(Place(n, at - times[0]) for n, at in enumerate(times)))


def read_frames(
    video: Video,
    say: Callable[[str], None],
    sampling: Sampling | Chosen | None = None,
) -> Iterator[Frame]:
    """The frames of a video file, in order; damaged parts are left out and counted. Those of a
    folder: `vlad.images.video.stills`.

    Frames keep their numbers where others are lost: they are told by time stamp, or, in codecs
    whose packets do not tell which frame is which, each damaged part counts as one frame.

    `time` is the creation time in the file plus the position; without one, the file's last change
    counts as the end of the recording.

    Args:
        say: called at the end with a sentence if the file ends early or has damaged parts.
        sampling: frames -> those that are due, told by number and position alone; None takes all.
            The others are not decoded, as far as none that is due depends on them.

    Raises:
        InputError: PyAV is missing, the file cannot be opened as video, has no video stream, or
            no frame.
    """
    if video.rate is not None:
        stills = read_stills(video)
        yield from stills if sampling is None else sampling(stills)
        return
    check_installed(video.name)
    reading = _Reading()
    ends = ""
    with _opened(video) as container:
        index = Index.of(container)
        places = index.places(container) if index else {}
    with _opened(video) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"  # a live source would lag behind by a frame a thread
        step = 1 / float(stream.average_rate or 25)
        stated = (container.duration or 0) / 1e6
        if container.format.name.startswith("matroska"):  # counted from 0, not the first frame
            stated = max(stated - float((stream.start_time or 0) * (stream.time_base or 1)), 0.0)
        stated = max(stated, stream.frames * step)
        began = _created(container.metadata.get("creation_time"))
        if began is None:
            length = stated or _length(video, step)
            began = os.stat(video.address).st_mtime_ns - round(length * 1e9)
        try:
            if sampling is None or index is None:
                every = reading.every(container, step, began, places)
                yield from every if sampling is None else sampling(every)
            else:
                yield from reading.due(video, container, index, places, sampling, began)
        except failures() as error:
            ends = reason(error)
    damaged, seconds = reading.damaged, reading.seconds
    if reading.number < 0:
        why = f": {counted(damaged['part'], 'part')} cannot be decoded" if damaged else ""
        raise InputError(f"{video.name} has no frame of video{why}; check the file.")
    if stated - (seconds + step) > max(_EARLY, stated / 10):
        ends = ends or f"its header says {stated:.1f} s"
    if ends:
        say(f"{video.name} ends early, after {seconds + step:.1f} s ({ends}).")
    for what, count in (+damaged).items():
        say(f"{video.name}: {counted(count, f'damaged {what}')} left out.")


@dataclass
class _Reading:
    """How far a file was read: number and position of its last frame, and what is damaged."""

    number: int = -1
    seconds: float = 0.0
    damaged: Counter[str] = field(default_factory=Counter)

    def every(
        self,
        container: av.container.InputContainer,
        step: float,
        began: int,
        places: Mapping[int, Place],
    ) -> Iterator[Frame]:
        """All frames.

        Args:
            step: seconds from one frame to the next, for frames without a time stamp.
            began: when the first one was captured, ns since 1970.
            places: time stamp -> place, as far as they are known.
        """
        first, lost = None, 0
        for frame in decoded(container, self.damaged):
            if frame is None:
                lost += 1
                continue
            at, place = frame.time, None if frame.pts is None else places.get(frame.pts)
            first = at if first is None else first
            if place and place.number > self.number:
                self.number, self.seconds = place
            else:
                self.number += 1 + lost
                # a frame without a time stamp comes one step after the last
                later = self.seconds + step * (self.number > 0)
                self.seconds = at - first if at is not None and first is not None else later
            lost = 0
            yield Frame(frame, self.number, self.seconds, began + round(self.seconds * 1e9))

    def due(
        self,
        video: Video,
        container: av.container.InputContainer,
        index: Index,
        places: Mapping[int, Place],
        sampling: Sampling | Chosen,
        began: int,
    ) -> Iterator[Frame]:
        """The frames that are due, decoding little else, unless one does not come."""
        stream = container.streams.video[0]
        due = {frame.number: frame.seconds for frame in sampling(places.values())}
        done, left = -1, len(due)
        with suppress(*failures()):
            for done, frame in wanted_frames(container, index, due):
                left -= 1
                yield Frame(frame, done, due[done], began + round(due[done] * 1e9))
        if not left:
            self.number, self.seconds = max(places.values())
            return
        # damaged, or key frames that do not stand alone
        with _opened(video) as again:
            again.streams.video[0].thread_type = "AUTO"
            step = 1 / float(stream.average_rate or 25)
            for every in sampling(self.every(again, step, began, places)):
                if every.number > done:
                    yield every


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
    """Seconds of a file whose header states none, such as a recording that was cut off."""
    times = _times(video, step)
    return times[-1] - times[0] + step if times else 0.0


def _times(video: Video, step: float) -> list[float]:
    """Time stamps of the packets of a file, ascending, in seconds.

    Args:
        step: seconds from one frame to the next, for parts without time stamps.
    """
    times: list[float] = []
    with _opened(video) as container, suppress(*failures()):
        for packet in container.demux(container.streams.video[0]):
            # the last one is empty, and an edit list leaves out those before its start
            if packet.size and not packet.is_discard:
                at = packet.pts
                times.append(len(times) * step if at is None else float(at * packet.time_base))
    return sorted(times)
