"""Footage of a conveyor, drawn from real images: objects pass, some with a marked defect.

    python benchmarks/footage.py DATA OUT [--minutes M] [--defects N] [--seed S]

DATA is a category in MVTec layout. Writes into OUT: `normal.mp4` and `test.mp4` (H.264, 25 frames a
second), `labels.csv` (frame of test.mp4, 1 if a defect shows, its box), and `good/`, frames of
another normal run as reference images. Light drifts, the belt has texture, and the camera noise.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

RATE = 25
WIDTH, HEIGHT = 640, 360
SIDE, SPACE = 260, 300  # pixels: of an object, and from one to the next
SPEED = 4  # pixels a frame
REFERENCES = 24


@dataclass(frozen=True)
class Part:
    """An object on the belt: its image (SIDE, SIDE, 3), and the box of its defect or None."""

    image: np.ndarray
    box: tuple[int, int, int, int] | None


def good_parts(data: Path) -> list[Part]:
    return [Part(_image(path), None) for path in sorted((data / "train" / "good").iterdir())]


def bad_parts(data: Path) -> list[Part]:
    """The defective images with a mask."""
    found = []
    for mask in sorted((data / "ground_truth").rglob("*_mask.png")):
        stem = mask.name.removesuffix("_mask.png")
        (image,) = (data / "test" / mask.parent.name).glob(f"{stem}.*")
        inside = np.asarray(Image.open(mask).convert("L").resize((SIDE, SIDE))) > 0
        if inside.any():
            rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
            x, y = int(columns[0]), int(rows[0])
            size = (int(columns[-1]) - x + 1, int(rows[-1]) - y + 1)
            found.append(Part(_image(image), (x, y, *size)))
    return found


def _image(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB").resize((SIDE, SIDE))).astype(np.float32)


def belt(
    parts: list[Part], generator: np.random.Generator
) -> Iterator[tuple[np.ndarray, list[tuple[int, int, int, int]]]]:
    """Frames as the parts pass from right to left, and the boxes of defects in sight."""
    top = (HEIGHT - SIDE) // 2
    border = np.median(np.concatenate([p.image[0] for p in parts[:20]]), axis=0)
    texture = generator.normal(0, 4, (HEIGHT, WIDTH + SPACE, 1)).astype(np.float32)
    light = 0.0
    for number in range((len(parts) * SPACE + WIDTH) // SPEED):
        moved = number * SPEED
        shift = moved % SPACE
        frame = border + texture[:, shift : shift + WIDTH]
        boxes = []
        for place, part in enumerate(parts):
            x = WIDTH + place * SPACE - moved
            if not -SIDE < x < WIDTH:
                continue
            left, right = max(0, x), min(WIDTH, x + SIDE)
            frame[top : top + SIDE, left:right] = part.image[:, left - x : right - x]
            if part.box:
                at = x + part.box[0]
                seen = min(WIDTH, at + part.box[2]) - max(0, at)
                if seen > 0:
                    boxes.append((max(0, at), top + part.box[1], seen, part.box[3]))
        light = 0.95 * light + generator.normal(0, 0.006)  # lamps drift
        frame = frame * (1 + light) + generator.normal(0, 2, frame.shape)
        yield np.clip(frame, 0, 255).astype(np.uint8), boxes


def write(path: Path, frames, codec: str = "libx264") -> list[list[tuple[int, int, int, int]]]:
    """Encode frames -> the boxes of each."""
    boxes = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, RATE)
        for image, found in frames:
            boxes.append(found)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return boxes


def make(data: Path, out: Path, minutes: float, defects: int, seed: int) -> None:
    """Write the footage."""
    generator = np.random.default_rng(seed)
    good, bad = good_parts(data), bad_parts(data)
    count = max(1, round(minutes * 60 * RATE * SPEED / SPACE))

    def drawn(number: int) -> list[Part]:
        return [good[i] for i in generator.integers(0, len(good), number)]

    (out / "good").mkdir(parents=True, exist_ok=True)
    # one frame of several, at all places of an object between two others
    for number, (image, _) in enumerate(belt(drawn(REFERENCES), generator)):
        if number % 53 == 20:
            Image.fromarray(image).save(out / "good" / f"{number:05}.png")
    write(out / "normal.mp4", belt(drawn(count), generator))
    test = drawn(count)
    for place in generator.choice(len(test), min(defects, len(test)), replace=False):
        test[place] = bad[generator.integers(0, len(bad))]
    boxes = write(out / "test.mp4", belt(test, generator))
    with open(out / "labels.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["frame", "seconds", "label", "x", "y", "width", "height"])
        for number, found in enumerate(boxes):
            box = found[0] if found else ("", "", "", "")
            table.writerow([number, number / RATE, int(bool(found)), *box])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--defects", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    make(given.data, given.out, given.minutes, given.defects, given.seed)


if __name__ == "__main__":
    main()
