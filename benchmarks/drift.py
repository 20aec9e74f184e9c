"""Drift on real sets: after how many images it is said, false alarms, and what it costs.

    python benchmarks/drift.py DATA > drift.md

DATA holds sets in MVTec layout, as `mvtec/bottle` and `magnetic_tile/tile`. The head memory is
fitted on 16 good images of a set. Of its other good images up to 60, at most half of them, drawn
again for each of 40 tries, calibrate, and the others, changed or not, come one by one, each once.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

import vlad
from vlad.calibration import Calibration
from vlad.calibration.drift import DriftMonitor, looks_of
from vlad.images import read_image
from vlad.results.seen import append_seen
from vlad.scoring.seen import Look, embeddings, light_of
from vlad.types import Seen

TRIES, SHOTS, GOOD, MOST = 40, 16, 60, 230
Scored = list[tuple[float, Seen]]


def moved(image: Image.Image) -> Image.Image:
    """As from a camera that is shifted by 4 % of the width; the edge is repeated."""
    left = round(0.04 * image.width)
    found = ImageChops.offset(image, left, 0)
    found.paste(image.crop((0, 0, 1, image.height)).resize((left, image.height)), (0, 0))
    return found


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "none": lambda image: image,
    "brightness −20 %": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "blur, σ 1.5 pixels": lambda image: image.filter(ImageFilter.GaussianBlur(1.5)),
    "camera shifted by 4 %": moved,
}


def score(detector: vlad.Detector, images: list[Image.Image]) -> Scored:
    return [(found.image_score, found.seen) for found in detector.stream(images)]


def calibrated(good: Scored) -> Calibration:
    scores = {"memory": np.array([score for score, _ in good])}
    made = Calibration("normals", scores, {"memory": np.inf}, {"memory": 0.05})
    return replace(made, drift=looks_of([seen for _, seen in good]))


def first_alarm(calibration: Calibration, stream: Scored) -> tuple[int, set[str]] | None:
    """After how many images something moved, and what."""
    monitor = DriftMonitor(calibration)
    for count, (value, seen) in enumerate(stream, start=1):
        monitor.add({"memory": value}, seen)
        if monitor.state.moved:
            return count, {part.name for part in monitor.state.moved}
    return None


def measure(data: Path, sets: list[str]) -> None:
    good = {}
    for name in sets:
        files = [f for part in ("train", "test") for f in (data / name / part / "good").iterdir()]
        places = np.linspace(0, len(files) - 1, min(MOST, len(files))).astype(int)
        good[name] = [read_image(sorted(files)[i]) for i in places]
    print(
        "| set | good | stream | change | alarms in 40 tries | after images (median) | what moved |"
    )
    print("|---|---|---|---|---|---|---|")
    costs = []
    for number, name in enumerate(sets):
        random = np.random.default_rng(0)
        order = random.permutation(len(good[name]))
        shown, others = order[:SHOTS], order[SHOTS:]
        detector = vlad.load("memory", backbone="vlad-tiny", device="cpu")
        detector.fit([good[name][i] for i in shown])
        images = [good[name][i] for i in sorted(others)]
        foreign = good[sets[number - 1]][: len(images)]
        plain = score(detector, images)
        cases = {what: [change(x) for x in images] for what, change in CHANGES.items()}
        for what, changed in [*cases.items(), ("another product", foreign)]:
            stream = plain if what == "none" else score(detector, changed)
            count = min(GOOD, len(images) // 2)
            found = []
            for _ in range(TRIES):
                mixed = random.permutation(len(images))
                calibration = calibrated([plain[i] for i in mixed[:count]])
                held = mixed[count:] if what != "another product" else np.arange(len(foreign))
                start = time.perf_counter()
                found.append(first_alarm(calibration, [stream[i] for i in held]))
                if what == "none":
                    costs.append((time.perf_counter() - start) / len(held))
            line = f"| {name} | {count} | {len(held)} | {what} | "
            print(line + row([alarm for alarm in found if alarm]), flush=True)
        # in the order of their names, which may be that in which they were taken
        alarm = first_alarm(calibrated(plain[:count]), plain[count:])
        line = f"| {name} | {count} | {len(plain) - count} | none, not mixed (one try) | "
        print(line + row([alarm] if alarm else []), flush=True)
    print(f"\n{cost(detector, images, float(np.mean(costs)))}")


def row(alarms: list[tuple[int, set[str]]]) -> str:
    """How many tries alarmed, after how many images, and in how many of them each part moved."""
    after = f"{np.median([count for count, _ in alarms]):g}" if alarms else "–"
    parts = sorted({part for _, names in alarms for part in names})
    shares = ", ".join(f"{part} {sum(part in names for _, names in alarms)}" for part in parts)
    return f"{len(alarms)} | {after} | {shares or '–'} |"


def cost(detector: vlad.Detector, images: list[Image.Image], compared: float) -> str:
    """What drift adds to the time of an image, part by part.

    Args:
        compared: seconds an image of the comparisons.
    """
    panel, sample = detector.panel_, images[:32]
    specs = list(panel.specs.values())
    prepared = [panel.prepare(image) for image in sample]
    features = panel.extractor.extract(prepared[:8], specs)
    tokens = list(embeddings(panel.specs, panel.heads, features, 8))
    lines = [(str(i), found.seen) for i, found in enumerate(detector.stream(sample[:8]))]
    with tempfile.TemporaryDirectory() as folder:
        seconds = {
            "brightness and sharpness": timed(lambda: light_of(panel.extractor, prepared[0])),
            "embedding": timed(lambda: list(embeddings(panel.specs, panel.heads, features, 8))) / 8,
            "its length and rounding": timed(lambda: look(tokens[0])),
            "seen.jsonl": timed(lambda: append_seen(Path(folder), lines)) / 8,
            "comparisons": compared,
        }
    scoring = min(timed(lambda: list(detector.stream(sample)), 1) for _ in range(5)) / len(sample)
    added = sum(seconds.values())
    parts = ", ".join(f"{part} {1e3 * value:.3f}" for part, value in seconds.items())
    return (
        f"Milliseconds an image of {specs[0].image_size or panel.backbone.info.image_size} pixels: "
        f"{parts}; in all {1e3 * added:.2f} of {1e3 * scoring:.1f}, {added / scoring:.2%}. "
        f"{processor()}, {torch.get_num_threads()} threads."
    )


def look(token: np.ndarray) -> Seen | None:
    made = Look()
    made.add((0.5, -4.0), token)
    return made.seen


def timed(work: Callable[[], object], times: int = 100) -> float:
    """Seconds of one call, the least of three means."""
    found = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(times):
            work()
        found.append((time.perf_counter() - start) / times)
    return min(found)


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    wanted = ["mvtec/bottle", "magnetic_tile/tile", "bsdata/ball_screw"]
    measure(Path(sys.argv[1]), sys.argv[2:] or wanted)
