"""Opening a video with PyAV, and the frames of one opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vlad.errors import InputError
from vlad.images.decode import DEFAULT_MAX_PIXELS
from vlad.images.video.source import Video

if TYPE_CHECKING:
    import av

PATIENCE = 10.0  # seconds that a stream may take to open, or to bring its next part
SILENT = f"no data for {PATIENCE:.0f} s"
# over UDP, lost parts make damaged frames, but some cameras have nothing else
_OF_RTSP = {"rtsp_flags": "prefer_tcp"}
# a longer look holds the first frames back, for up to 10 s, and then brings them all at once
_AT_ONCE = {"probesize": "32"}
# what a playlist in a file, or at a URL, may lead to
_OF_FILES = "file"
_OF_STREAMS = "http,https,httpproxy,rtsp,rtsps,rtp,srtp,tcp,udp,tls,crypto"


def check_installed(name: str) -> None:
    """Raise an InputError if PyAV is missing."""
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"{name} needs PyAV ({error}); install it with `pip install 'vlad-vision[video]'`."
        ) from error


def failures() -> tuple[type[Exception], ...]:
    """What PyAV raises for a source that cannot be read, or no longer."""
    import av

    return (av.FFmpegError, OSError, ValueError)


def opened(video: Video) -> av.container.InputContainer:
    """The container of a video.

    Raises:
        Exception: one of `failures`: it cannot be opened; the text may hold its address, so use
            `reason`.
    """
    import av

    if not video.live:
        return av.open(video.address, options={"protocol_whitelist": _OF_FILES})
    options = {"protocol_whitelist": _OF_STREAMS} if video.device is None else {}
    if video.address.lower().startswith("rtsp"):
        options |= _OF_RTSP
        container = av.open(video.address, options=options | _AT_ONCE, timeout=PATIENCE)
        if container.streams.video:
            return container
        container.close()  # MPEG-TS within RTP tells its streams later
    return av.open(video.address, format=video.device, options=options, timeout=PATIENCE)


def decoded(
    container: av.container.InputContainer, damaged: Counter[str]
) -> Iterator[av.VideoFrame | None]:
    """The frames of the first video stream, and None in place of what is damaged.

    Args:
        damaged: counts "part"s that could not be decoded, and "frame"s left out.

    Raises:
        Exception: one of `failures`: it ends before its end.
    """
    import av

    stream = container.streams.video[0]
    # larger frames are refused before they take memory
    stream.codec_context.options = {"max_pixels": str(DEFAULT_MAX_PIXELS)}
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            damaged["part"] += 1
            yield None
            continue
        for frame in frames:
            damaged["frame"] += frame.is_corrupt
            yield None if frame.is_corrupt else frame


def reason(error: Exception) -> str:
    """Why PyAV failed, without the address that it was given."""
    import av

    if isinstance(error, av.error.ExitError):  # PyAV's word for a time-out
        return SILENT
    return getattr(error, "strerror", None) or type(error).__name__
