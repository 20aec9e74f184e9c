"""Decoding only what the wanted frames of a file depend on, known from its packets alone."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from vlad.images.decode import DEFAULT_MAX_PIXELS
from vlad.images.video.opening import failures

if TYPE_CHECKING:
    import av

# each packet of these holds one frame, shown at the time stamp of the packet
CODECS = ("ffv1", "h264", "hevc", "mjpeg", "mpeg2video", "mpeg4", "vp8", "vp9")
NEAR = 8  # packets; the decoder is not started again for fewer
FAR = 250  # packets; more are not read but jumped over, where the file has a table of them
TABLED = ("mov", "matroska")  # formats that begin to read at the key frame before, never after it


class Place(NamedTuple):
    """Where a frame is that is not decoded yet: its number and position in seconds."""

    number: int
    seconds: float


@dataclass(frozen=True)
class Index:
    """The packets of a file in the order of decoding; a packet is a place in these.

    Attributes:
        stamps: time stamp of each, all different.
        keys: places of key frames, ascending.
        shown: places of the frames, in the order of their time stamps: by frame number.
    """

    stamps: list[int]
    keys: list[int]
    shown: list[int]

    @classmethod
    def of(cls, container: av.container.InputContainer) -> Index | None:
        """The index of a file just opened; None if its packets do not tell which frame is which,
        or some are damaged, so that all must be decoded."""
        stream = container.streams.video[0]
        if stream.codec_context.name not in CODECS:
            return None
        stamps: list[int] = []
        keys, dropped = [], set()
        try:
            for packet in container.demux(stream):
                if not packet.size:  # the last one is empty
                    continue
                if packet.pts is None or packet.is_corrupt:
                    return None
                if packet.is_keyframe:
                    keys.append(len(stamps))
                if packet.is_discard:  # before the start that an edit list sets
                    dropped.add(len(stamps))
                stamps.append(packet.pts)
        except failures():
            return None
        if not keys or len(dropped) == len(stamps) or len(set(stamps)) < len(stamps):
            return None
        frames = (place for place in range(len(stamps)) if place not in dropped)
        return cls(stamps, keys, sorted(frames, key=stamps.__getitem__))

    def places(self, container: av.container.InputContainer) -> dict[int, Place]:
        """Time stamp -> place of each frame, in order.

        Args:
            container: the file of the index.
        """
        base = container.streams.video[0].time_base or Fraction(1)
        stamps = [self.stamps[place] for place in self.shown]
        return {
            stamp: Place(number, float(stamp * base) - float(stamps[0] * base))
            for number, stamp in enumerate(stamps)
        }

    def ranges(self, numbers: Collection[int]) -> list[tuple[int, int]]:
        """(first, last) place of the packets to decode for frames of these numbers; each range
        begins with a key frame, and needs nothing before it."""
        found: list[tuple[int, int]] = []
        for last in sorted(self.shown[number] for number in numbers):
            at = bisect_right(self.keys, last) - 1
            # frames shown before the key frame that they follow depend on the one before it too
            while at > 0 and self.stamps[self.keys[at]] > self.stamps[last]:
                at -= 1
            first = self.keys[max(at, 0)]
            if found and first <= found[-1][1] + NEAR:
                found[-1] = (found[-1][0], last)
            else:
                found.append((first, last))
        return found


def wanted_frames(
    container: av.container.InputContainer,
    index: Index,
    numbers: Collection[int],
) -> Iterator[tuple[int, av.VideoFrame]]:
    """(number, frame) of the frames with these numbers, in order, as full decoding gives them; it
    ends before the first one that does not come, such as a damaged one.

    Args:
        container: the file of the index, opened again.

    Raises:
        Exception: one of `failures`: the file ends before its end, or a part is damaged.
    """
    wanted = {index.stamps[index.shown[number]]: number for number in numbers}
    due = iter(sorted(numbers))
    for frame in _parts(container, index, numbers, wanted):
        number = None if frame.pts is None or frame.is_corrupt else wanted.get(frame.pts)
        if number is not None:
            if number != next(due):
                return
            yield number, frame


def _parts(
    container: av.container.InputContainer,
    index: Index,
    numbers: Collection[int],
    wanted: Collection[int],
) -> Iterator[av.VideoFrame]:
    """What is decoded for these frames, whose time stamps are `wanted`."""
    stream = container.streams.video[0]
    context = stream.codec_context
    context.options = {"max_pixels": str(DEFAULT_MAX_PIXELS)}
    places = {stamp: place for place, stamp in enumerate(index.stamps)}
    packets = container.demux(stream)
    seen = 0  # packets read so far
    for first, last in index.ranges(numbers):
        if first - seen > FAR and container.format.name.startswith(TABLED):
            container.seek(index.stamps[first], stream=stream, backward=True)
            packets = container.demux(stream)
        for packet in packets:
            at = packet.pts
            seen = len(places) if at is None or not packet.size else places.get(at, -1)
            if first <= seen <= last:
                # what no other frame depends on is not decoded, unless it is wanted itself
                context.skip_frame = "DEFAULT" if at in wanted else "NONREF"
                yield from packet.decode()
            if seen >= last:
                break
        yield from context.decode(None)
        context.flush_buffers()
