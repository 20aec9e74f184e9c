"""WinCLIP against anomalib's, which runs with the open_clip that it pins.

    python -m venv .bench-anomalib && .bench-anomalib/bin/pip install 'anomalib[clip]==2.7.0'
    python benchmarks/winclip.py --anomalib .bench-anomalib/bin/python [--rounds 7]

Both have the same random weights and pixels and score one image at a time, in turn, each in its own
process that waits while the other works, every other round in reverse order; text is embedded
before. It prints medians, medians of ratios, and the deviation of maps and scores from anomalib's.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from seeded import backbone_of, random_model
from timing import machine, ratio, table

from vlad.heads import load_head
from vlad.scoring.panel import Panel
from vlad.system.allocator import keep_freed_memory

MODEL = "ViT-B-16-plus-240"
THEIRS = "anomalib, float32"
CATEGORY = "bottle"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--anomalib", required=True, help="interpreter of its environment")
    parser.add_argument("--rounds", type=int, default=7, help="images; one more warms up")
    options = parser.parse_args()

    keep_freed_memory()  # as the command does
    model = random_model(MODEL)
    panels = {}
    for dtype in (torch.float32, torch.bfloat16):
        backbone = backbone_of(MODEL, copy.deepcopy(model)).to("cpu", dtype)
        panel = Panel(backbone, {"winclip": load_head("winclip")}, bank="winclip_anomalib")
        panel.text("winclip", CATEGORY)
        panels[f"vlad, {str(dtype).removeprefix('torch.')}"] = panel
    images = [
        Image.effect_noise((300, 300), 20 + 10 * i).convert("RGB")
        for i in range(options.rounds + 1)
    ]
    prepared = [panel.prepare(image) for image in images]
    with tempfile.TemporaryDirectory() as name:
        weights, pixels = Path(name, "weights.pt"), Path(name, "pixels.npy")
        torch.save(model.state_dict(), weights)
        np.save(pixels, np.stack([next(iter(x.values())) for x in prepared]))
        script = Path(__file__).with_name("anomalib_winclip.py")
        child = subprocess.Popen(
            [options.anomalib, script, weights, pixels, CATEGORY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        while child.stdout.readline() != "ready\n":
            if child.poll() is not None:
                raise SystemExit("anomalib did not start; see above.")
        seconds, found = in_turn(child, panels, prepared)
        child.stdin.close()
        child.wait()
        expected = dict(np.load(pixels.with_suffix(".npz")))

    print(f"{machine(['open_clip_torch'])}\n")
    print(f"{MODEL}, one image at a time, {options.rounds} rounds, medians\n")
    rows = []
    for case, spent in seconds.items():
        row = [case, statistics.median(spent), ratio(spent, seconds[THEIRS])]
        rows.append([*row, *off(found[case], expected)] if case in found else [*row, "", ""])
    print(table(rows, ["", "s an image", "of anomalib's", "map off by", "score off by"]))


def in_turn(child: subprocess.Popen, panels: dict, prepared: list) -> tuple[dict, dict]:
    """Seconds of every case in every round but the first, and vlad's scores."""
    cases = [THEIRS, *panels]
    seconds, found = {case: [] for case in cases}, defaultdict(list)
    for i, pixels in enumerate(prepared):
        for case in reversed(cases) if i % 2 else cases:
            if case == THEIRS:
                print(i, file=child.stdin, flush=True)
                spent = float(child.stdout.readline())
            else:
                start = time.perf_counter()
                found[case].append(panels[case].score([pixels], CATEGORY)["winclip"].numpy())
                spent = time.perf_counter() - start
            if i:
                seconds[case].append(spent)
    return seconds, found


def off(found: list, expected: dict[str, np.ndarray]) -> tuple[str, str]:
    """The largest differences of maps and scores."""
    maps = np.concatenate([scores.anomaly_map for scores in found])
    scores = np.concatenate([scores.image_score for scores in found])
    return tuple(
        f"{np.abs(mine - theirs).max():.0e}"
        for mine, theirs in ((maps, expected["maps"]), (scores, expected["scores"]))
    )


if __name__ == "__main__":
    main()
