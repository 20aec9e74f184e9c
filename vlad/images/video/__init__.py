"""Images from video: files, streams and cameras, read by PyAV (extra `video`).

A frame is an RGB image with its number in the source, its position in seconds, and the time when it
was captured. Rotation in the metadata is applied; pixels that are not square stay as stored.
"""

from vlad.images.video.file import check_video, count_frames, read_frames
from vlad.images.video.frame import Frame
from vlad.images.video.live import Live
from vlad.images.video.sampling import Changes, Chosen, Sampling
from vlad.images.video.source import Video

__all__ = [
    "Changes",
    "Chosen",
    "Frame",
    "Live",
    "Sampling",
    "Video",
    "check_video",
    "count_frames",
    "read_frames",
]
