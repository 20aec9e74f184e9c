"""anomalib's WinCLIP in an environment of its own, for winclip.py, which starts this file.

    python benchmarks/anomalib_winclip.py WEIGHTS PIXELS CATEGORY

For every line of input, the index of an image, it prints the seconds to score it; when the input
ends, it writes all maps and scores beside PIXELS.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
from anomalib.models.image.winclip.torch_model import WinClipModel


def main(weights: str, pixels: str, category: str) -> None:
    create = open_clip.create_model_and_transforms

    def seeded(name: str, **_: object) -> tuple:
        made = create(name, pretrained=None)
        made[0].load_state_dict(torch.load(weights, weights_only=True))
        return made

    open_clip.create_model_and_transforms = seeded
    model = WinClipModel().eval()
    with torch.no_grad():
        model.setup(category)
    batch = torch.from_numpy(np.load(pixels))
    found = {}
    print("ready", flush=True)
    for line in sys.stdin:
        i = int(line)
        start = time.perf_counter()
        found[i] = model(batch[i : i + 1])
        print(time.perf_counter() - start, flush=True)
    maps = np.concatenate([found[i].anomaly_map.numpy() for i in sorted(found)])
    scores = np.concatenate([found[i].pred_score.numpy() for i in sorted(found)])
    np.savez(Path(pixels).with_suffix(".npz"), maps=maps, scores=scores)


if __name__ == "__main__":
    main(*sys.argv[1:])
