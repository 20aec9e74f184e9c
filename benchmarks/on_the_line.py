"""One story of a line, told by the commands themselves: docs/story.md.

    python benchmarks/on_the_line.py --data mvtec [--category bottle] > docs/story.md

A detector is fitted, served, and watches a folder whose light loses two fifths on the way. Of what
it scored, 20 images are reviewed (the labels of the data set stand for the person) and applied.
Images that nobody has shown it, in the new light, are scored by the detector before and after.
Every block of the page is a command as it ran with what it printed; the rest of the page is here.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from vlad.datasets import load_dataset
from vlad.metrics import auroc
from vlad.types import Sample

FITTED, STREAMED, BAD = 29, 180, 20  # normal images to fit on and in the stream, defects in it
BRIGHT = 50  # images of the stream before the light changes
REVIEWED = 20
DARK = 0.6
PAGE = """# A day on the line

Everything on this page ran as it stands, by `python benchmarks/on_the_line.py` on the category
`{category}` of MVTec AD with the built-in backbone `vlad-tiny`, which is for trying out: a real
backbone has other figures. {counts}
"""

END = """
The second detector has seen the new light, but its threshold still rests mostly on images from
before. Good images of the day set another: `vlad calibrate good-of-today/ --detector
detectors/part-2`. See [detectors](detector.md), [drift](drift.md), [learning from
review](review.md), [watching](watch.md) and [serving](serve.md).
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="labelled set, MVTec AD layout")
    parser.add_argument("--category", default="bottle")
    parser.add_argument("--head", default="memory")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data = load_dataset("auto", args.data)
    with tempfile.TemporaryDirectory() as work:
        home = os.getcwd()
        os.chdir(work)
        try:
            tell(data.train(args.category), data.test(args.category), args)
        finally:
            os.chdir(home)


def tell(train: Sequence[Sample], test: Sequence[Sample], args: argparse.Namespace) -> None:
    """Run the story in the current folder, and print the page."""
    chance = random.Random(args.seed)
    good = chance.sample(list(train), len(train))
    bad = chance.sample([s for s in test if s.label], sum(bool(s.label) for s in test))
    fitted, good = good[:FITTED], good[FITTED:]
    stream = chance.sample([*good[:STREAMED], *bad[:BAD]], STREAMED + BAD)
    last = [*good[STREAMED:], *(s for s in test if not s.label), *bad[BAD:]]
    labels = {}
    for sample in fitted:
        copy(sample, Path("good"), 1.0)
    for sample in last:
        labels[str(copy(sample, Path("tomorrow"), DARK))] = sample
    print(PAGE.format(category=args.category, counts=said(stream, last)))
    print(f"## Fit\n\n{FITTED} normal images: 4 to compare with, the others for the threshold.\n")
    run(f"vlad fit good/ --head {args.head} --k-shot 4 --backbone vlad-tiny --out detectors/part")
    print("## Serve\n\nThe page of the service is at the address that it prints.\n")
    serve("good/" + sorted(os.listdir("good"))[0])
    print(
        f"## Watch\n\nParts arrive one after the other. After {BRIGHT} of {len(stream)} the light "
        f"loses {1 - DARK:.0%}.\n"
    )
    watch(stream, labels)
    print(f"## Review\n\n{REVIEWED} images, the most informative first.\n")
    run(f"vlad review list runs/line --order informative --show {REVIEWED} --out labels.csv")
    mark(labels)
    run("vlad review apply labels.csv --detector detectors/part --out detectors/part-2")
    print("## Before and after\n\nImages of the next day in the new light. Nobody reviewed them.\n")
    for place, name in enumerate(("part", "part-2")):
        run(f"vlad score tomorrow/ --detector detectors/{name} --maps none --out runs/{place}")
    print(table(labels, args.head))
    print(END)


def said(stream: Sequence[Sample], last: Sequence[Sample]) -> str:
    """How many images there are of each kind."""
    parts = []
    for name, samples in (("stream", stream), ("images of the next day", last)):
        bad = sum(bool(s.label) for s in samples)
        parts.append(f"the {name}: {len(samples) - bad} good, {bad} with a defect")
    return f"{'; '.join(parts)}.".capitalize()


def copy(sample: Sample, folder: Path, light: float) -> Path:
    """Write an image under a name that tells nothing of its label."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{len(os.listdir(folder)):04d}.png"
    with Image.open(sample.path) as image:
        shown = image.convert("RGB").point(lambda value: round(light * value))
    shown.save("next.part", "PNG")
    Path("next.part").rename(path)  # in one step, so that the watching command sees it whole
    return path


def run(line: str) -> str:
    """Run a command, and print it with its output."""
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(line)], capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):
        sys.exit(f"{line}\n{done.stderr}")
    show(line, [*done.stdout.splitlines(), *said_once(done.stderr)])
    return done.stdout


def said_once(stderr: str) -> list[str]:
    """What a command says on stderr, without its progress and its note on the backbone."""
    told = ("scored ", "Note: vlad-tiny")
    return [line for line in stderr.splitlines() if line and not line.startswith(told)]


def show(line: str, output: Sequence[str]) -> None:
    print("\n".join(["```text", f"$ {line}", *output, "```", ""]), flush=True)


def serve(image: str) -> None:
    """Score one image over HTTP."""
    line = "vlad serve detectors/part --port 0"
    process = subprocess.Popen(
        [sys.executable, "-m", *shlex.split(line)], stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    address = process.stdout.readline().split()[-1]
    request = urllib.request.Request(
        f"{address}/v1/score", Path(image).read_bytes(), {"Content-Type": "image/png"}
    )
    with urllib.request.urlopen(request) as reply:
        (found,) = json.load(reply)["images"]
    process.send_signal(signal.SIGTERM)
    process.wait()
    kept = {name: found[name] for name in ("image_score", "p_value", "verdict")}
    show(
        f"curl --data-binary @{image} -H 'Content-Type: image/png' $ADDRESS/v1/score",
        [f"... {json.dumps(kept)[1:-1]} ..."],
    )


def watch(stream: Sequence[Sample], labels: dict[str, Sample]) -> None:
    """Have a folder watched while images arrive in it."""
    line = "vlad watch incoming/ --detector detectors/part --maps none --out runs/line"
    Path("incoming").mkdir()
    with open("watch.txt", "w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *shlex.split(line), "--interval", "0.1"],
            stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        for place, sample in enumerate(stream):
            path = copy(sample, Path("incoming"), DARK if place >= BRIGHT else 1.0)
            labels[str(path)] = sample
            while scored() <= place:
                if process.poll() is not None:
                    sys.exit(Path("watch.txt").read_text())
                time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.wait()
    show(line, shortened(Path("watch.txt").read_text().splitlines()))


def scored() -> int:
    file = Path("runs/line/scores.csv")
    return max(0, len(file.read_text().splitlines()) - 1) if file.exists() else 0


def shortened(lines: Sequence[str]) -> list[str]:
    """Leave out all but the first of each series of lines about images, and count them."""
    kept: list[str] = []
    left = 0
    for line in [*lines, ""]:
        if line.startswith("incoming/") and kept and kept[-1].startswith("incoming/"):
            left += 1
            continue
        if left:
            kept.append(f"... {left} more images ...")
            left = 0
        if line and "is for trying out" not in line:
            kept.append(line)
    return kept


def mark(labels: dict[str, Sample]) -> None:
    """Fill in the labels that a person would give."""
    with open("labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        sample = labels[os.path.relpath(row["path"])]
        row["label"] = "defective" if sample.label else "good"
        row["kind"] = (sample.defect or "") if sample.label else ""
    with open("labels.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    bad = sum(row["label"] == "defective" for row in rows)
    print(f"The person labels {len(rows) - bad} of them good and {bad} defective.\n")


def table(labels: dict[str, Sample], head: str) -> str:
    """What both detectors say of the images of the next day."""
    lines = [
        "| detector | defects found | good images flagged | AUROC |",
        "| --- | --- | --- | --- |",
    ]
    for place, name in enumerate(("before", "after")):
        with open(f"runs/{place}/scores.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        bad = [bool(labels[os.path.relpath(row["path"])].label) for row in rows]
        flagged = [row[f"{head}_verdict"] == "anomalous" for row in rows]
        found = sum(f for f, b in zip(flagged, bad, strict=True) if b)
        alarms = sum(f for f, b in zip(flagged, bad, strict=True) if not b)
        area = auroc([float(row[head]) for row in rows], bad)
        lines.append(
            f"| {name} | {found} of {sum(bad)} | {alarms} of {len(bad) - sum(bad)} "
            f"| {100 * area:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
