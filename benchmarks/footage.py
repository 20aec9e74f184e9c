"""Footage of a conveyor, drawn from real images: objects pass, some with a marked defect.

    python benchmarks/footage.py DATA OUT [--minutes M] [--defects N] [--seed S]

DATA is a category in MVTec layout. Writes into OUT: `normal.mp4` and `test.mp4` (H.264, 5 frames a
second), `labels.csv` (frames of test.mp4: 1 if a defect shows, its part and box), `good/`,
frames of another normal run as reference images, and `known/`, frames with other defects and their
masks. No image stands in two of these, except in `known/`, whose normal neighbours are those of
`good/`. Light drifts, the belt has texture, and the camera noise. Frames are drawn one by one.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

RATE = 5
WIDTH, HEIGHT = 480, 270
SIDE, SPACE = 195, 225  # pixels: of an object, and from one to the next
SPEED = 25  # pixels a frame
TOP = (HEIGHT - SIDE) // 2
REFERENCES = 16  # frames in good/
KNOWN = 6  # frames in known/


@dataclass(frozen=True, eq=False)
class Part:
    """An object on the belt: its image (SIDE, SIDE, 3) uint8, and the mask (SIDE, SIDE) of its
    defect or None."""

    image: np.ndarray
    mask: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class View:
    """A frame: pixels (HEIGHT, WIDTH, 3) uint8, and place of a part -> visible mask of its defect,
    (HEIGHT, WIDTH)."""

    pixels: np.ndarray
    defects: dict[int, np.ndarray]


def good_parts(data: Path) -> list[Part]:
    folders = (data / "train" / "good", data / "test" / "good")
    return [Part(_pixels(path)) for folder in folders for path in sorted(folder.iterdir())]


def bad_parts(data: Path) -> list[Part]:
    """The defective images with a mask."""
    found = []
    for file in sorted((data / "ground_truth").rglob("*_mask.png")):
        stem = file.name.removesuffix("_mask.png")
        (image,) = (data / "test" / file.parent.name).glob(f"{stem}.*")
        mask = np.asarray(Image.open(file).convert("L").resize((SIDE, SIDE))) > 127
        if mask.any():
            found.append(Part(_pixels(image), mask))
    return found


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB").resize((SIDE, SIDE)))


def belt(parts: Sequence[Part], generator: np.random.Generator) -> Iterator[View]:
    """Frames as the parts pass from right to left."""
    border = np.median(np.concatenate([part.image[0] for part in parts[:20]]), axis=0)
    texture = 4 * generator.standard_normal((HEIGHT, WIDTH + SPACE, 1), np.float32)
    light = 0.0
    for number in range((len(parts) * SPACE + WIDTH) // SPEED):
        moved = number * SPEED
        shift = moved % SPACE
        frame = border.astype(np.float32) + texture[:, shift : shift + WIDTH]
        defects = {}
        first = max(0, (moved - WIDTH - SIDE) // SPACE)
        for place in range(first, min(len(parts), moved // SPACE + 1)):
            part, x = parts[place], WIDTH + place * SPACE - moved
            left, right = max(0, x), min(WIDTH, x + SIDE)
            if left >= right:
                continue
            frame[TOP : TOP + SIDE, left:right] = part.image[:, left - x : right - x]
            if part.mask is not None:
                seen = np.zeros((HEIGHT, WIDTH), bool)
                seen[TOP : TOP + SIDE, left:right] = part.mask[:, left - x : right - x]
                if seen.any():
                    defects[place] = seen
        light = 0.95 * light + 0.006 * float(generator.standard_normal())  # lamps drift
        frame = frame * (1 + light) + 2 * generator.standard_normal(frame.shape, np.float32)
        yield View(np.clip(frame, 0, 255).astype(np.uint8), defects)


def film(path: Path, views: Iterator[View]) -> Iterator[View]:
    """Encode frames into a file as they pass."""
    with av.open(str(path), "w") as container:
        options = {"crf": "20", "preset": "veryfast"}
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, RATE)
        for view in views:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view.pixels, format="rgb24")))
            yield view
        container.mux(stream.encode())


def label(path: Path, views: Iterator[View]) -> None:
    """Write which frames show a defect, and where."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["frame", "seconds", "label", "part", "x", "y", "width", "height"])
        for number, view in enumerate(views):
            for place, mask in view.defects.items():
                table.writerow([number, number / RATE, 1, place, *box(mask)])
            if not view.defects:
                table.writerow([number, number / RATE, 0, *[""] * 5])


def box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x, y, width and height of what a mask holds."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1


def make(data: Path, out: Path, minutes: float, defects: int, seed: int) -> None:
    """Write the footage."""
    generator = np.random.default_rng(seed)
    good, bad = good_parts(data), bad_parts(data)
    generator.shuffle(good)
    generator.shuffle(bad)
    shown = max(2, len(good) // 4)
    references, normal, tested = good[:shown], good[shown::2], good[shown + 1 :: 2]
    count = max(1, round(minutes * 60 * RATE * SPEED / SPACE))

    def drawn(parts: Sequence[Part], number: int = count) -> list[Part]:
        return [parts[i] for i in generator.integers(0, len(parts), number)]

    (out / "good").mkdir(parents=True, exist_ok=True)
    for number, view in enumerate(belt(drawn(references, 3 * REFERENCES), generator)):
        if number % 26 == 20 and number // 26 < REFERENCES:  # at all places of an object
            Image.fromarray(view.pixels).save(out / "good" / f"{number:04}.png")
    for folder in ("defect", "ground_truth/defect"):
        (out / "known" / folder).mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(bad[:KNOWN]):
        for view in belt([*drawn(references, 1), part, *drawn(references, 1)], generator):
            if view.defects and view.defects[1].sum() == part.mask.sum():
                break  # the whole defect shows
        Image.fromarray(view.pixels).save(out / "known" / "defect" / f"{number}.png")
        mask = Image.fromarray(view.defects[1])
        mask.save(out / "known" / "ground_truth" / "defect" / f"{number}_mask.png")
    for _ in film(out / "normal.mp4", belt(drawn(normal), generator)):
        pass
    test = drawn(tested)
    for place in generator.choice(len(test), min(defects, len(test)), replace=False):
        test[place] = bad[generator.integers(KNOWN, len(bad))]
    label(out / "labels.csv", film(out / "test.mp4", belt(test, generator)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--defects", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    make(given.data, given.out, given.minutes, given.defects, given.seed)


if __name__ == "__main__":
    main()
