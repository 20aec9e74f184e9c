"""Captions of the frames of a video, from a file or from a vision-language model, and scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image

from vlad.errors import ImageError, InputError
from vlad.images.video import Frame, Sampling, Video, read_frames
from vlad.results.table import Column
from vlad.system.spreadsheet import read_rows
from vlad.system.text import shown
from vlad.time import anomalyruler_base
from vlad.vlm import VLM, Request
from vlad.vlm.prompts import load_prompt

SIDE = 1024  # pixels of the longer side of a frame that is sent
HEADER = "caption,seconds"


@dataclass(frozen=True)
class Captioned:
    """One frame.

    Attributes:
        caption: "" if there is none.
        seconds: its position; None if the file does not tell.
        error: why there is no caption.
        number: its place in the video, or in the file of captions, from 0.
    """

    caption: str
    seconds: float | None = None
    error: str = ""
    number: int = 0


def listed_captions(path: Path) -> list[Captioned]:
    """The captions of a CSV file with the column `caption` and, if you like, `seconds`.

    Raises:
        InputError: an unreadable file, one without captions, or a position that is no number or
            before the one above it.
    """
    found: list[Captioned] = []
    before = -math.inf
    for line, row in read_rows(path, "file of captions", HEADER):
        seconds, caption = _number(row.get("seconds", "")), row.get("caption", "")
        if seconds is not None and not before <= seconds < math.inf:
            raise InputError(
                f"line {line} of {path}: {shown(repr(row['seconds']))} is no position after the "
                "one above it; write seconds, rising from line to line."
            )
        before = before if seconds is None else seconds
        found.append(Captioned(caption, seconds, "" if caption else "no caption", len(found)))
    if not any(one.caption for one in found):
        raise InputError(f"{path} has no captions; write one a line in the column `caption`.")
    return found


def made_captions(
    vlm: VLM,
    video: Video,
    sampling: Sampling,
    max_pixels: int,
    say: Callable[[str], None],
    done: Callable[[int], None] = lambda count: None,
) -> Iterator[Captioned]:
    """What a vision-language model says of each frame that is due, as it answers.

    Args:
        say: is given a sentence if the video is damaged.
        done: is given the number of frames after each batch.

    Raises:
        InputError: the video cannot be read.
        VlmError: as `VLM.ask`.
    """
    text = load_prompt("caption").text
    frames, count = read_frames(video, say, sampling), 0
    while batch := list(islice(frames, vlm.batch)):
        images = [_image(frame, max_pixels, video.name) for frame in batch]
        asked = [Request((image,), text) for image in images if isinstance(image, Image.Image)]
        replies = iter(vlm.ask(asked) if asked else ())
        for frame, image in zip(batch, images, strict=True):
            if isinstance(image, str):
                yield Captioned("", frame.seconds, image, frame.number)
                continue
            reply = next(replies)
            caption = " ".join(reply.text.split())
            error = reply.error or ("" if caption else "no answer: it is empty")
            yield Captioned("" if error else caption, frame.seconds, error, frame.number)
        count += len(batch)
        done(count)


def caption_table(found: Sequence[Captioned], keywords: Sequence[str]) -> Mapping[str, Column]:
    """A row a frame with its caption and scores, which frames without a caption do not have.

    Raises:
        InputError: as `vlad.time.anomalyruler_base`.
    """
    scored = anomalyruler_base([one.caption for one in found if not one.error], keywords)
    parts = {
        "hit": scored.hits.astype(int),
        "smoothed": scored.smoothed,
        "state": scored.states.astype(int),
        "score": scored.scores,
    }
    values = {name: iter(x.tolist()) for name, x in parts.items()}
    columns = {
        name: [None if one.error else next(each) for one in found] for name, each in values.items()
    }
    return {
        "frame": [one.number for one in found],
        "seconds": [one.seconds for one in found],
        "caption": [one.caption for one in found],
        **columns,
        "error": [one.error for one in found],
    }


def _number(text: str) -> float | None:
    """NaN if it is none, None if there is no text."""
    try:
        return float(text) if text else None
    except ValueError:
        return math.nan


def _image(frame: Frame, max_pixels: int, name: str) -> Image.Image | str:
    """The frame as it is sent, or why it cannot be used."""
    try:
        image = frame.image(max_pixels, f"frame {frame.number} of {name}")
    except ImageError as error:
        return str(error)
    image.thumbnail((SIDE, SIDE))
    return image
