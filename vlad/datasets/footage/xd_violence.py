"""XD-Violence: scenes of films and of the net, test videos labelled by frame.

Wu et al., "Not only Look, but also Listen", ECCV 2020. Each line of `annotations.txt` has the name
of an anomalous test video, and first frame and end of each stretch: `v=38GQ9L2meyE_..._label_B6-0-0
18 107 200 240`. Frames are counted from 0, without the end, as the authors' program reads them. The
names of normal videos end in `_label_A`. Test videos are those in the folders of the annotated
ones; all other normal videos below the root are for training.
"""

from __future__ import annotations

import os
from pathlib import Path

from vlad.datasets.footage.clip import Clip, Spans, Truth, lines_of, videos_below
from vlad.datasets.layout import existing_folder
from vlad.errors import InputError

_NORMAL = "_label_A"


class XDViolence:
    """An XD-Violence folder.

    Raises:
        InputError: no such folder, one without annotations.txt, or an annotated video is missing.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        self._root = existing_folder(root)
        file = self._root / "annotations.txt"
        if not file.is_file():
            raise InputError(
                f"{self._root} is not in XD-Violence layout; put the videos and annotations.txt in "
                "it."
            )
        self._spans = dict(_line(line, file) for line in lines_of(file))
        self._videos = videos_below(self._root)
        missing = sorted(set(self._spans) - set(self._videos))
        if missing:
            raise InputError(
                f"{file} lists {missing[0]}, which is not below {self._root}; unpack the set again."
            )
        self._folders = {self._videos[name].parent for name in self._spans}

    def train(self) -> list[Path]:
        """The normal videos outside the folders of test videos; the others are left out."""
        return [video for video in self._normal() if video.parent not in self._folders]

    def test(self) -> list[Clip]:
        """The annotated videos and the normal ones beside them, with labels."""
        normal = [Clip(video, Truth) for video in self._normal() if video.parent in self._folders]
        bad = [
            Clip(self._videos[name], lambda spans=spans: Truth(spans))  # type: ignore[misc]
            for name, spans in self._spans.items()
        ]
        return sorted(normal + bad, key=lambda clip: clip.path)

    def _normal(self) -> list[Path]:
        return [video for name, video in self._videos.items() if name.endswith(_NORMAL)]


def _line(line: str, file: Path) -> tuple[str, Spans]:
    name, *rest = line.split()
    try:
        numbers = [int(cell) for cell in rest]
        pairs = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    except ValueError as error:
        raise InputError(
            f"{file} has the line {line!r}; write a video, and first frames and ends."
        ) from error
    return name.removesuffix(".mp4"), pairs
