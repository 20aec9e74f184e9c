"""UCF-Crime: videos with anomalous stretches, labelled by frame for the test split.

Sultani et al., "Real-World Anomaly Detection in Surveillance Videos", CVPR 2018. Each line of
`Temporal_Anomaly_Annotation_for_Testing_Videos.txt` has a video, its kind, and first and last frame
of up to two stretches, -1 for none: `Abuse028_x264.mp4  Abuse  165  240  -1  -1`. Frames are
counted from 1, ends included, as in the authors' MATLAB program. `Anomaly_Train.txt` lists the
training videos. Videos may lie in any folder below the root.
"""

from __future__ import annotations

import os
from pathlib import Path

from vlad.datasets.footage.clip import Clip, Spans, Truth, lines_of, videos_below
from vlad.datasets.layout import existing_folder
from vlad.errors import InputError


class UCFCrime:
    """A UCF-Crime folder.

    Raises:
        InputError: no such folder, or one without the labels of the test videos.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        self._root = existing_folder(root)
        files = sorted(self._root.rglob("Temporal_Anomaly_Annotation*.txt"))
        if not files:
            raise InputError(
                f"{self._root} is not in UCF-Crime layout; put the videos and "
                "Temporal_Anomaly_Annotation_for_Testing_Videos.txt in it."
            )
        self._labels = files[0]
        self._videos = videos_below(self._root)

    def train(self) -> list[Path]:
        """The normal videos of `Anomaly_Train.txt`; the anomalous ones are left out.

        Raises:
            InputError: the list or a video is missing.
        """
        files = sorted(self._root.rglob("Anomaly_Train.txt"))
        if not files:
            raise InputError(f"{self._root} has no Anomaly_Train.txt; copy it from the set.")
        names = [line for line in lines_of(files[0]) if "normal" in line.casefold()]
        return [self._video(Path(name).name, files[0]) for name in names]

    def test(self) -> list[Clip]:
        """The test videos, with labels.

        Raises:
            InputError: a video is missing, or a line is damaged.
        """
        return [self._clip(line) for line in lines_of(self._labels)]

    def _clip(self, line: str) -> Clip:
        name, *rest = line.split()
        try:
            numbers = [int(cell) for cell in rest[1:]]
            pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        except ValueError as error:
            raise InputError(
                f"{self._labels} has the line {line!r}; write a video, its kind, and first and "
                "last frames."
            ) from error
        spans: Spans = tuple((max(first - 1, 0), last) for first, last in pairs if first >= 0)
        return Clip(self._video(name, self._labels), lambda: Truth(spans))

    def _video(self, name: str, where: Path) -> Path:
        stem = name.rpartition(".")[0] or name
        if stem not in self._videos:
            raise InputError(
                f"{where} lists {name}, which is not below {self._root}; unpack the set again."
            )
        return self._videos[stem]
