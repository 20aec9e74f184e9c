"""AnomalyCLIP, APRIL-GAN and AdaCLIP against the minimum arithmetic that they need.

    python benchmarks/floors.py [--model ViT-L-14-336] [--size 518] [--repeats 3]

Weights and adapters are random. A round times the bare backbone, by open_clip and by vlad, and the
full score of each head from prepared pixels, one image each, interleaved in one process. It prints
medians and medians of ratios. AdaCLIP's time includes its text, which it embeds again for every
image; the others embed theirs once per category.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
from pathlib import Path

import open_clip
import torch
from PIL import Image
from seeded import backbone_of, random_adapter, random_model
from timing import interleaved, machine, ratio, table

from vlad.backbones.backbone import Backbone
from vlad.heads import load_head
from vlad.scoring.panel import Panel

HEADS = {"anomalyclip": 1.05, "april_gan": 1.02, "adaclip": 2.1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ViT-L-14-336")
    parser.add_argument("--size", type=int, default=518)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()

    patch = open_clip.get_model_config(options.model)["vision_cfg"]["patch_size"]
    side = options.size // patch * patch
    model = random_model(options.model, side)
    backbones = {
        "float32": backbone_of(options.model, model),
        "bfloat16": backbone_of(options.model, copy.deepcopy(model)).to("cpu", torch.bfloat16),
    }
    image = Image.effect_noise((side, side), 80).convert("RGB")
    cases, activations = {}, {}
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        for dtype, backbone in backbones.items():
            for head in HEADS:
                folder = random_adapter(head, backbones["float32"], Path(name) / head)
                panel = Panel(
                    backbone, {head: load_head(head, adapter=str(folder))}, image_size=side
                )
                prepared = [panel.prepare(image)]
                panel.text(head, "nut")
                cases[head, dtype] = lambda panel=panel, x=prepared: panel.score(x, "nut")
                activations[head] = panel.specs[head].activation
            pixels = torch.from_numpy(next(iter(prepared[0].values())))[None]
            for activation in ("gelu", "quick_gelu"):
                cases[activation, dtype] = bare(backbone, pixels, activation)
        cases["open_clip", "float32"] = lambda: model.encode_image(pixels)
        seconds = interleaved(cases, options.repeats)

    print(f"{machine(['open_clip_torch'])}\n")
    print(f"{options.model} at {side} pixels, one image, medians of {options.repeats} rounds\n")
    rows = []
    for case, spent in seconds.items():
        head, dtype = case
        row = [f"{head}, {dtype}", statistics.median(spent), "", ""]
        if head in HEADS:
            own = seconds[activations[head], dtype]
            row[2] = ratio(spent, own)
            if dtype == "float32":
                counted = floor(backbones[dtype], side) if head == "anomalyclip" else 1.0
                row[3] = f"{row[2] / counted:.3f} (at most {HEADS[head]})"
            else:
                row[3] = f"{ratio(seconds[head, 'float32'], spent):.2f} times faster than float32"
        else:
            row[0] = f"bare backbone, {head}, {dtype}"
            row[2] = ratio(spent, seconds["gelu", dtype])
        rows.append(row)
    print(table(rows, ["", "s an image", "of the bare backbone", "of the floor"]))
    print(f"\nFloor of anomalyclip: {floor(backbones['float32'], side):.3f} of the bare backbone")


def bare(backbone: Backbone, pixels: torch.Tensor, activation: str):
    """Every token through every block, and the image embedding."""
    replaced, last = backbone.info.replaced(activation), backbone.info.depth

    def run() -> torch.Tensor:
        found = backbone.vision(pixels, taps=[(None, last)], activation=replaced)
        return backbone.vision.embed_image(found.last)

    return run


def floor(backbone: Backbone, side: int) -> float:
    """Multiplications of AnomalyCLIP's pass in units of the bare backbone's.

    With N tokens of C channels a block takes 3NC² (q, k, v) + 2N²C (attention) + NC² (output) +
    8NC² (MLP). Dual blocks, from a quarter of the depth on, add 2N²C (v-v) + NC² (output). The last
    block computes q, attention, output and MLP of the ordinary stream for CLS alone.
    """
    info = backbone.info
    n, c = 1 + (side // info.patch_size) ** 2, info.width
    block = 12 * n * c**2 + 2 * n**2 * c
    dual = 2 * n**2 * c + n * c**2
    spared = (n - 1) * (10 * c**2 + 2 * n * c)
    blocks = info.depth - max(1, round(info.depth / 4)) + 1
    return (info.depth * block + blocks * dual - spared) / (info.depth * block)


if __name__ == "__main__":
    main()
