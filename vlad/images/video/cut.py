"""A part of a video file as a file of its own, without encoding it again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from vlad.errors import InputError, OutputError
from vlad.images.video.opening import check_installed, failures, opened, reason
from vlad.images.video.source import Video
from vlad.system.files import cannot_write

if TYPE_CHECKING:
    import av

    _Stamped = tuple[av.Packet, int, int]  # when it is shown, and decoded

MARGIN = 1.0  # seconds before and after
_IN_MP4 = ("av1", "h264", "hevc", "mpeg4")  # other codecs go into Matroska
_EARLIER = (0.0, 30.0)  # seconds to begin reading before a place, where that leads behind it


def cut_clip(video: Video, start: float, end: float, path: Path) -> Path:
    """Write the part from `start` to `end` with 1 s around it; it begins with the key frame before.

    Args:
        start, end: positions from the first frame, seconds.
        path: of the clip, without suffix.

    Returns:
        its path, ending in .mp4 or .mkv.

    Raises:
        InputError: PyAV is missing, or the part cannot be read.
        OutputError: the clip cannot be written.
    """
    import av

    check_installed(video.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        with opened(video) as container:
            stream = container.streams.video[0]
            base = float(stream.time_base or 1)
            shift = (stream.start_time or 0) * base
            name = stream.codec_context.name
            path = path.with_name(f"{path.name}.{'mp4' if name in _IN_MP4 else 'mkv'}")
            first = max(0.0, start - MARGIN) + shift
            with av.open(str(path), "w") as clip:
                copy = clip.add_stream_from_template(stream)
                zero = None
                for packet, pts, dts in _from_key_frame(container, stream, round(first / base)):
                    if dts * base > end + MARGIN + shift:
                        break
                    zero = dts if zero is None else zero
                    packet.pts, packet.dts = pts - zero, dts - zero
                    packet.stream = copy
                    clip.mux(packet)
                if zero is None:
                    raise OSError(0, "it has no time stamps there")
    except PermissionError as error:
        raise OutputError(
            f"cannot write {path} ({reason(error)}); choose a folder you may write to."
        ) from error
    except failures() as error:
        path.unlink(missing_ok=True)
        raise InputError(
            f"no clip can be cut from {video.name} ({reason(error)}); leave the clips out, or "
            "convert it to MP4."
        ) from error
    return path


def _from_key_frame(
    container: av.container.InputContainer, stream: av.VideoStream, place: int
) -> Iterator[_Stamped]:
    """The packets from the last key frame that is shown at or before a time stamp; of a stream that
    begins with another frame, all of them."""
    base = float(stream.time_base or 1)
    start = stream.start_time or 0
    places = [*(max(start, place - round(early / base)) for early in _EARLIER), start]
    for number, target in enumerate(places, 1):
        try:
            container.seek(target, stream=stream, backward=True)
        except PermissionError as error:  # of formats without time stamps, not of files
            raise OSError(0, "no place in it can be found") from error
        packets = (packet for packet in container.demux(stream) if packet.size)
        held: list[av.Packet] = []
        whole = number == len(places)
        for packet in packets:
            at = packet.dts if packet.pts is None else packet.pts
            if packet.is_keyframe and (at is None or at <= place):
                held = []
            if held or packet.is_keyframe or whole:
                held.append(packet)
            if at is not None and at > place:
                break
        first = held[0].pts if held else None
        if whole or (first is not None and first <= place):
            yield from _stamped(chain(held, packets))
            return


def _stamped(packets: Iterable[av.Packet]) -> Iterator[_Stamped]:
    """Packets with both time stamps, also where a format leaves one out: Matroska has none of
    decoding for the first after a seek."""
    waiting: list[av.Packet] = []
    for packet in packets:
        waiting.append(packet)
        if packet.dts is None:
            continue
        stamps = [packet.dts]
        for earlier in reversed(waiting[:-1]):
            stamps.append(stamps[-1] - (earlier.duration or 1))
        for ready, dts in zip(waiting, reversed(stamps), strict=True):
            yield ready, dts if ready.pts is None else ready.pts, dts
        waiting = []
