"""vlad's backbone pass against open_clip's `encode_image`, and decoding hidden behind it.

    python benchmarks/extraction.py IMAGES [--batch-size 4] [--dtype bfloat16] [--repeats 5]

Both run the same random weights on the same pixels, interleaved in one process, after a check that
their embeddings agree. Then the memory head scores the images of a folder from their files, and the
passes that it needs run on the same prepared pixels.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from pathlib import Path

import numpy as np
import torch
from seeded import backbone_of, random_model
from timing import interleaved, machine, ratio, table

from vlad.datasets import list_samples
from vlad.heads import load_head
from vlad.images import read_image
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import score_samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--models", nargs="+", default=["ViT-B-16-plus-240", "ViT-L-14-336"])
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--count", type=int, default=16, help="images scored from files")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()

    print(f"{machine(['open_clip_torch'])}\n")
    print(
        f"{options.dtype}, batches of {options.batch_size}, medians of {options.repeats} rounds\n"
    )
    rows = [row for name in options.models for row in measured(name, options)]
    print(table(rows, ["", "images a second", "of open_clip's"]))


@torch.no_grad()
def measured(name: str, options: argparse.Namespace) -> list[list]:
    """Rows of the table for one model."""
    dtype = getattr(torch, options.dtype)
    model = random_model(name)
    backbone = backbone_of(name, copy.deepcopy(model)).to("cpu", dtype)
    model.to(dtype)
    samples = list_samples([options.images])[: options.count]
    panel = Panel(backbone, {"memory": load_head("memory")})
    panel.fit([read_image(samples[0].path)])

    def batches(found: list) -> list:
        return [found[i : i + options.batch_size] for i in range(0, len(found), options.batch_size)]

    prepared = [panel.prepare(read_image(sample.path)) for sample in samples]
    first = [next(iter(pixels.values())) for pixels in prepared[: options.batch_size]]
    one = torch.from_numpy(np.stack(first))
    depth, specs = backbone.info.depth, list(panel.specs.values())

    def embed(pixels: torch.Tensor, taps: tuple = ()) -> torch.Tensor:
        return backbone.vision.embed_image(backbone.vision(pixels, taps=taps).last)

    theirs, ours = model.encode_image(one.to(dtype)).float(), embed(one).float()
    cosine = torch.cosine_similarity(theirs, ours).min()
    if cosine < (1 - 1e-5 if dtype is torch.float32 else 0.99):
        raise SystemExit(f"{name}: the embeddings differ (cosine {cosine:.5f}).")

    seconds = interleaved(
        {
            "open_clip, encode_image": lambda: model.encode_image(one.to(dtype)),
            "vlad, patches and embedding": lambda: embed(one, ((None, depth),)),
            "vlad, embedding alone": lambda: embed(one),
        },
        options.repeats,
    )
    rows = [
        [f"{name}: {case}", len(one) / statistics.median(spent), ratio(first, spent)]
        for first in [seconds["open_clip, encode_image"]]
        for case, spent in seconds.items()
    ]
    from_files = interleaved(
        {
            # the passes that the head needs: they end at its last block
            "passes": lambda: [panel.extractor.extract(x, specs) for x in batches(prepared)],
            "files": lambda: list(
                score_samples(panel, samples, batch_size=options.batch_size, open_image=read_image)
            ),
            "decoding": lambda: [panel.prepare(read_image(sample.path)) for sample in samples],
        },
        max(2, options.repeats // 2),
    )
    for case, spent in {
        "vlad, the passes on prepared pixels": from_files["passes"],
        "vlad, files to scores": from_files["files"],
        "decoding and resizing alone": from_files["decoding"],
    }.items():
        share = f"{ratio(from_files['passes'], spent):.3g} of its passes"
        rows.append([f"{name}: {case}", len(samples) / statistics.median(spent), share])
    return rows


if __name__ == "__main__":
    main()
