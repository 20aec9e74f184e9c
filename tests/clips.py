"""Small videos written by PyAV, for tests."""

from __future__ import annotations

import csv
import struct
from fractions import Fraction

import av
import numpy as np
from PIL import Image


def grey(value: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """(H, W, 3) pixels of one brightness."""
    return np.full((size[1], size[0], 3), value, np.uint8)


def write_clip(path, images, *, codec="mpeg4", pixels="yuv420p", rate=10, options=None, **metadata):
    """Encode (H, W, 3) uint8 images of one size -> the path."""
    with av.open(str(path), "w", options=options or {}) as container:
        container.metadata.update(metadata)
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        stream.bit_rate = 4_000_000
        stream.time_base = Fraction(1, rate)
        stream.codec_context.gop_size = 1
        for image in images:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path):
    """A file of sound alone -> the path."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn(path, turned):
    """A copy of an MP4 that says it is to be shown turned by a quarter, clockwise -> its path."""
    # the matrix of a track: a quarter turn instead of none
    whole = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    content = path.read_bytes()
    place = content.index(whole, content.index(b"tkhd"))
    turned.write_bytes(content[:place] + quarter + content[place + len(whole) :])
    return turned


def pixels(images, number):
    """(H, W, 3) pixels of a test image."""
    return np.asarray(Image.open(images / f"{number}.png").convert("RGB"))


def table(file):
    """The rows of a CSV file."""
    with open(file, newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))
