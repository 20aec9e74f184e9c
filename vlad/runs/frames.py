"""Frames of a video as the images of a run: their names, files and states."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Literal

from PIL import Image

from vlad.datasets.ids import possible_ids
from vlad.errors import InputError
from vlad.images.video import Changes, Frame, Live, Sampling, Video, count_frames, read_frames
from vlad.images.video.ahead import read_ahead
from vlad.images.video.change import change_of
from vlad.results.folder import RunFolder
from vlad.results.rows import Row, State
from vlad.system.files import atomic_write
from vlad.types import Sample

Keep = Literal["anomalous", "all", "none"]
FOLDER = "frames"  # of a run
_WAIT = 0.5  # seconds for the next frame of a live source, so that a stop is seen
_SAME = 2_000_000_000  # ns that the end of a recording that goes on may seem to move
_STAMP = "%Y-%m-%dT%H-%M-%S.%fZ"
_NUMBER = re.compile(r"(\d{6,})\.png")


@dataclass(frozen=True)
class Footage:
    """A video to score.

    Attributes:
        sampling: which of its frames are due.
        changes: as in `vlad.images.video.Changes`.
        keep: which scored frames are kept as images.
        motion: whether `Frames.change` is wanted.
        segments: whether frames get the scores of their segments (`vlad.runs.segments`).
        duration: seconds that a live source is read in `vlad video`; None is until it is stopped.
    """

    video: Video
    sampling: Sampling = field(default_factory=Sampling)
    changes: float | None = None
    keep: Keep = "anomalous"
    motion: bool = False
    segments: bool = False
    duration: float | None = None


def captured(row: Row) -> int | None:
    """When the frame of a row was captured, ns since 1970; None if a killed command left no trace
    of it."""
    if row.state is not None:
        return row.state.read
    try:  # a live frame is named by it
        at = datetime.strptime(os.path.basename(row.path), f"{_STAMP}.png")
    except ValueError:
        return None
    return round(at.replace(tzinfo=timezone.utc).timestamp() * 1e6) * 1000


class Frames:
    """The frames of a video that have no score yet, as `Arrivals` gives the files of a folder.

    A row is named frames/NAME/000123.png below the run's folder, by the number of the frame in a
    video file, or frames/NAME/TIME.png of a live source; the file is there if the frame is kept. A
    video file goes on after the last frame with a row, a live source with what comes now.

    Args:
        folder: the run.
        category: what the images show.
        max_pixels: as in `Setup`.
        say: called with a sentence about the source.

    Attributes:
        ended: whether no more frames come.
        states: path -> state of each frame read, until its row takes it.
    """

    def __init__(
        self,
        footage: Footage,
        folder: RunFolder,
        category: str | None,
        max_pixels: int,
        say: Callable[[str], None],
    ):
        self.footage, self.folder, self.category = footage, folder, category
        self.max_pixels, self.say = max_pixels, say
        self.ended = False
        self.states: dict[str, State | None] = {}
        self._changes = Changes(footage.changes)
        self._unread: dict[str, Frame] = {}
        self._pairs: dict[int, tuple[Frame, Frame]] = {}  # whose difference is its change
        self._moves: dict[str, Image.Image] = {}
        self._images: dict[str, Image.Image] = {}  # of those that may be kept
        self._held = ExitStack()
        self._live: Live | None = None

    def __enter__(self) -> Frames:
        if self.footage.video.live:
            live = Live(self.footage.video, self.footage.sampling, self.say)
            self._live = self._held.enter_context(live)
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    @property
    def source(self) -> str:
        """The folder that the rows of this video are named below."""
        return Path(self._name("_.png")).parent.name

    @property
    def done(self) -> int:
        """How many frames of this video have rows."""
        return sum(Path(path).parent.name == self.source for path in self.folder.rows)

    def due(self) -> int:
        """How many frames are due in all, as `count_frames` tells it; 0 if nobody knows.

        Raises:
            InputError: as `look`.
        """
        if self._live or self.footage.changes is not None:
            return 0
        return count_frames(self.footage.video, self.footage.sampling)

    def look(self) -> Iterator[Sample]:
        """The next frame of a live source, if one comes soon; all that are left of a file, or all
        of it if they are scored by segments, which may begin before those.

        Raises:
            InputError: the file cannot be read as video, it is not the one whose frames have rows,
                or PyAV is missing.
        """
        if self._live:
            frame = self._live.latest(_WAIT)
            frames = iter([frame] if frame and self._changes(frame) else [])
        else:
            frames = self._of_file()
        return map(self._sample, frames)

    def seconds(self, sample: Sample) -> float:
        """The position of a frame that is not read yet."""
        return self._unread[str(sample.path)].seconds

    def leave(self, sample: Sample) -> None:
        """Forget a frame that will not be read."""
        del self._unread[str(sample.path)]

    def __call__(self, path: Path) -> Image.Image:
        """The image of a frame that `look` gave.

        Raises:
            ImageError: it is too large or too small.
        """
        name = str(path)
        frame = self._unread.pop(name)
        self.states[name] = State(0, frame.time, frame.time)
        pair = self._pairs.pop(frame.number, ())
        image = frame.image(self.max_pixels, name)
        if pair:
            now, before = (
                image if one is frame else one.image(self.max_pixels, name) for one in pair
            )
            self._moves[name] = change_of(now, before)
        if self.footage.keep != "none":
            self._images[name] = image
        return image

    def change(self, path: Path) -> Image.Image:
        """How a frame whose image was taken differs from the one before; the first frame has the
        change of the second."""
        return self._moves.pop(str(path))

    def keep(self, rows: Sequence[Row], anomalous: Collection[str]) -> list[Row]:
        """Write the frames to be kept -> the rows, with the states of their files.

        Raises:
            OutputError: a file cannot be written.
        """
        kept = []
        for row in rows:
            image = self._images.pop(row.path, None)
            wanted = self.footage.keep == "all" or row.path in anomalous
            if image is not None and wanted and row.error is None:
                row = replace(row, state=self._save(image, row))
                self.states[row.path] = row.state
            kept.append(row)
        return kept

    def _save(self, image: Image.Image, row: Row) -> State:
        """Write a frame as a file that was last changed when the frame was captured."""
        assert row.state is not None  # it was read
        captured = row.state.read
        path = Path(row.path)
        # without loss, so that the file scores as the frame did
        atomic_write(path, lambda file: image.save(file, "PNG", compress_level=1))
        os.utime(path, ns=(captured, captured))
        found = State.of(path)
        return row.state if found is None else found._replace(read=captured)

    def _of_file(self) -> Iterator[Frame]:
        done, last = -1, None
        folder = self.source
        for path, row in self.folder.rows.items():
            number = _NUMBER.fullmatch(os.path.basename(path))
            if number and Path(path).parent.name == folder and int(number[1]) > done:
                done, last = int(number[1]), row.state
        video, due = self.footage.video, self.footage.sampling
        with read_ahead(lambda: read_frames(video, self.say, due)) as frames:
            if done >= 0:
                frames = self._same(frames, done, last)
            # those with rows are compared too, as if it had never stopped
            for frame, now, before in _paired(filter(self._changes, frames)):
                if frame.number > done or self.footage.segments:
                    if self.footage.motion:
                        self._pairs[frame.number] = now, before
                    yield frame
        self.ended = True

    def _same(self, frames: Iterator[Frame], done: int, last: State | None) -> Iterator[Frame]:
        """The frames, once the last one with a row shows that they are of the same video."""
        video, known = self.footage.video.name, False
        for frame in frames:
            if frame.number == done:
                apart = 0 if last is None else abs(frame.time - last.read)
                if apart > (_SAME if self.footage.video.rate is None else 0):
                    break
                known = True
                self.say(f"{video}: continuing after frame {done}.")
            yield frame
        if not known:
            raise InputError(
                f"{video} is not the video whose frames up to {done} are in {self.folder.out}, or "
                "it has changed since; choose another folder."
            )

    def _sample(self, frame: Frame) -> Sample:
        """Name a frame, and hold it until it is read."""
        if self._live:
            at = datetime.fromtimestamp(frame.time / 1e9, timezone.utc)
            name = self._name(f"{at:{_STAMP}}.png")
        else:
            name = self._name(f"{frame.number:06}.png")
        path = self.folder.out / FOLDER / f"{name}.png"
        self._unread[str(path)] = frame
        return Sample(path, name, self.category)

    def _name(self, file: str) -> str:
        """The id of a frame: the source and the file without suffix."""
        source = self.footage.video.name
        short = source.strip("/").replace("/", "_") if self._live else os.path.basename(source)
        return possible_ids((short, file))[0]


def _paired(frames: Iterator[Frame]) -> Iterator[tuple[Frame, Frame, Frame]]:
    """Each frame with the two that its change is of: itself and the one before; for the first, the
    second and itself."""
    for first in islice(frames, 1):
        second = list(islice(frames, 1))
        yield first, (second or [first])[0], first
        for before, now in pairwise(chain([first], second, frames)):
            yield now, now, before
