"""The prompts of one category: cut to the longest, at the full context, and from the cache.

    python benchmarks/text.py [--rounds 1]

"At full context" is the methods' authors' way: open_clip's own `encode_text` on every sentence at
77 tokens, including duplicates. Weights are random: time does not depend on them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile

import open_clip
import torch
from seeded import backbone_of, random_model
from timing import interleaved, machine, ratio, table

from vlad.prompts import load_bank
from vlad.scoring import textcache

CASES = (("ViT-B-16-plus-240", "winclip"), ("ViT-L-14-336", "april_gan"))
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    print(f"{machine(['open_clip_torch'])}\n")
    lines = []
    for architecture, bank in CASES:
        lines.append(measured(architecture, bank, options.rounds))
    header = ["", "sentences", "full context, s", "cut, s", "times faster", "from disk, s"]
    print(table(lines, header))


@torch.no_grad()
def measured(architecture: str, bank: str, rounds: int) -> tuple:
    backbone = backbone_of(architecture, random_model(architecture))
    tokenize = open_clip.get_tokenizer(architecture)
    prompts = load_bank(bank).expand("hazelnut")
    sentences = list(prompts.normal + prompts.anomalous)

    def full() -> None:
        for at in range(0, len(sentences), BATCH):
            backbone.model.encode_text(tokenize(sentences[at : at + BATCH]))

    def from_disk() -> None:
        textcache._memory.clear()  # as in a new process
        textcache.embed_prompts(backbone, prompts)

    unique = list(dict.fromkeys(sentences))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VLAD_CACHE"] = folder
        cases = {"full": full, "cut": lambda: backbone.encode_text(unique), "disk": from_disk}
        seconds = interleaved(cases, rounds)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    faster = ratio(seconds["full"], seconds["cut"])
    name = f"{architecture}, bank {bank}"
    return name, len(sentences), medians["full"], medians["cut"], faster, medians["disk"]


if __name__ == "__main__":
    main()
