"""An hour of video on the built-in backbone, and what decoding adds to the backbone.

    python benchmarks/video.py IMAGES [--minutes 2] [--fps 1] [--repeats 3]

Encodes a 720p H.264 clip (25 frames a second, key frames 10 s apart) of a slow pan over the images,
and scores its due frames with head memory: from the file as `vlad video` does, from the file with
all frames decoded, and from images in memory. Also in processor time, which other programs on the
machine do not change.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from timing import machine, table

from vlad.backbones import load_backbone
from vlad.datasets import list_samples
from vlad.heads import load_head
from vlad.images.video import Frame, Sampling, Video, read_frames
from vlad.images.video.ahead import read_ahead
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import score_samples
from vlad.types import Sample

RATE = 25
SIZE = (1280, 720)


def encode(folder: Path, path: Path, seconds: float) -> Video:
    """Write the clip."""
    images = [Image.open(s.path).convert("RGB").resize(SIZE) for s in list_samples([folder])[:8]]
    scene = np.concatenate([np.asarray(image) for image in images], axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.gop_size = 10 * RATE
        stream.time_base = Fraction(1, RATE)
        for number in range(int(seconds * RATE)):
            x = 2 * number % (scene.shape[1] - SIZE[0])
            view = np.ascontiguousarray(scene[:, x : x + SIZE[0]])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode())
    return Video.of(str(path))


def scored(panel: Panel, frames: Iterator[Frame]) -> int:
    """Score frames -> how many."""
    held: dict[str, Frame] = {}

    def samples() -> Iterator[Sample]:
        for frame in frames:
            held[f"{frame.number}"] = frame
            yield Sample(Path(f"{frame.number}"), f"{frame.number}")

    def image(path: Path) -> Image.Image:
        return held.pop(str(path)).image(10**8, str(path))

    return sum(
        len(batch) for batch in score_samples(panel, samples(), batch_size=8, open_image=image)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--fps", type=float, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    backbone = load_backbone("vlad-tiny")
    panel = Panel(backbone, {"memory": load_head("memory")})
    with tempfile.TemporaryDirectory() as folder:
        video = encode(given.images, Path(folder) / "clip.mp4", 60 * given.minutes)
        due = Sampling(fps=given.fps)
        kept = [(f, f.image(10**8, "frame")) for f in read_frames(video, print, due)]
        panel.fit([image for _, image in kept[:4]])

        def skipping() -> int:
            with read_ahead(lambda: read_frames(video, print, due)) as frames:
                return scored(panel, frames)

        def everything() -> int:
            with read_ahead(lambda: due(read_frames(video, print))) as frames:
                return scored(panel, frames)

        def memory() -> int:
            images = {Path(f"{frame.number}"): image for frame, image in kept}
            samples = [Sample(path, str(path)) for path in images]
            found = score_samples(panel, samples, batch_size=8, open_image=images.__getitem__)
            return sum(map(len, found))

        cases: dict[str, Callable[[], int]] = {
            "from images in memory": memory,
            "from the file": skipping,
            "from the file, all frames decoded": everything,
        }
        memory()  # warms up
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        for _ in range(given.repeats):
            for name, run in cases.items():
                wall, cpu = time.perf_counter(), time.process_time()
                run()
                spent = (time.perf_counter() - wall, time.process_time() - cpu)
                times[name].append(spent)
    print(f"{machine(['av'])}\n\n{given.minutes:g} min at {given.fps:g} fps: {len(kept)} frames\n")
    base = [statistics.median(x[i] for x in times["from images in memory"]) for i in (0, 1)]
    rows = []
    for name, found in times.items():
        wall, cpu = (statistics.median(x[i] for x in found) for i in (0, 1))
        hour = 60 / given.minutes
        rows.append(
            [name, f"{wall / base[0]:.2f}", f"{cpu / base[1]:.2f}", f"{wall * hour:.0f}",
             f"{cpu * hour:.0f}"]
        )  # fmt: skip
    print(table(rows, ["", "time", "processor time", "s for 1 h", "processor s for 1 h"]))


if __name__ == "__main__":
    main()
