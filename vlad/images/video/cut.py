"""A part of a video file as a file of its own, without encoding it again."""

from __future__ import annotations

from pathlib import Path

from vlad.errors import InputError, OutputError
from vlad.images.video.opening import check_installed, failures, opened, reason
from vlad.images.video.source import Video
from vlad.system.files import cannot_write

MARGIN = 1.0  # seconds before and after
_IN_MP4 = ("av1", "h264", "hevc", "mpeg4")  # other codecs go into Matroska


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
            container.seek(round(first / base), stream=stream, backward=True)
            with av.open(str(path), "w") as clip:
                copy = clip.add_stream_from_template(stream)
                zero = None
                for packet in container.demux(stream):
                    if packet.dts is None or packet.pts is None:
                        continue
                    if packet.dts * base > end + MARGIN + shift:
                        break
                    if zero is None:
                        if not packet.is_keyframe:
                            continue
                        zero = packet.dts
                    packet.pts -= zero
                    packet.dts -= zero
                    packet.stream = copy
                    clip.mux(packet)
    except PermissionError as error:
        raise OutputError(
            f"cannot write {path} ({reason(error)}); choose a folder you may write to."
        ) from error
    except failures() as error:
        raise InputError(
            f"no clip can be cut from {video.name} ({reason(error)}); leave the clips out, or "
            "convert it to MP4."
        ) from error
    return path
