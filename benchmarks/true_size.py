"""Every head at the true size of released backbones, on random weights: seconds and peak memory.

    python benchmarks/true_size.py --weights DIR [--backbones clip dinov2 ...]
        [--heads winclip ...] [--results FILE]

Weights are drawn, saved in their library's layout and loaded as a user's would be, float32. Each
head runs in a process of its own, on 2 normal images of noise where it wants any, and scores one
image after its words were embedded, which no cache has. A head that a backbone cannot serve gets
the sentence that says so. Memory is the peak of the process, all of that included. Lines in
--results are not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from PIL import Image
from timing import machine, table

# name -> (what it is, pixels a side)
BACKBONES = {
    "clip": ("CLIP ViT-L/14-336", 518),
    "dinov2": ("DINOv2 ViT-L/14 with registers", 518),
    "siglip2": ("SigLIP 2 so400m/16-384", 384),
    "dinov3": ("DINOv3 ViT-B/16", 448),
    "efficientnet": ("EfficientNet-B4", 256),  # of metauas
}
STEPS = 2  # of heads that optimise a network in `fit`, whose time is not what is measured
LEFT_OUT = {"vlm": "asks a vision-language model of its own"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="folder, 10 GB")
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=[*BACKBONES])
    parser.add_argument("--heads", nargs="+", default=[])
    parser.add_argument("--results", type=Path, default=Path("true_size.jsonl"))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.weights, options.backbones[0], options.heads[0])))
        return
    from vlad.heads import head_names

    lines = options.results.read_text().splitlines() if options.results.exists() else []
    found = {tuple(row["case"]): row for row in map(json.loads, lines)}
    heads = options.heads or [name for name in head_names() if name not in LEFT_OUT]
    for backbone in options.backbones:
        for head in heads:
            if (backbone, head) not in found:
                row = {"case": [backbone, head], **in_process(options.weights, backbone, head)}
                found[backbone, head] = row
                with open(options.results, "a") as file:
                    file.write(json.dumps(row) + "\n")
    print(f"{machine(['open_clip_torch', 'transformers'])}\n")
    print("float32, one image: s an image (of its passes), peak GiB\n")
    titles = [f"{BACKBONES[name][0]} at {BACKBONES[name][1]}" for name in options.backbones]
    rows = [[head, *(cell(found[name, head]) for name in options.backbones)] for head in heads]
    print(table(rows, ["head", *titles]))
    refused: dict[str, list[str]] = {}
    for name in options.backbones:
        for head in heads:
            if why := found[name, head].get("refused"):
                why = why.replace(str(options.weights / name), "this backbone").replace(head, "…")
                refused.setdefault(why, []).append(f"{head} on {name}")
    print("\n" + "\n".join(f"- {', '.join(cases)}: {why}" for why, cases in refused.items()))


def cell(row: dict) -> str:
    """What one head cost on one backbone."""
    if "refused" in row:
        return "–"
    passes = f"{row['ratio']:.2f}" if row["ratio"] else "no pass"
    return f"{row['seconds']:.3g} ({passes}), {row['gib']:.1f}"


def in_process(weights: Path, backbone: str, head: str) -> dict:
    """Measure one head on one backbone in a new process."""
    command = [sys.executable, __file__, "--one", "--weights", str(weights)]
    command += ["--backbones", backbone, "--heads", head]
    with tempfile.TemporaryDirectory() as cache:  # no text of another head or run
        environment = {**os.environ, "VLAD_CACHE": cache}
        found = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if found.returncode:
        raise SystemExit(f"{head} on {backbone} ended with {found.returncode}")
    return json.loads(found.stdout.splitlines()[-1])


def measured(weights: Path, name: str, head: str) -> dict:
    """Seconds, their ratio to the backbone's passes, and the peak; or why it is refused."""
    from vlad.backbones import load_backbone
    from vlad.errors import VladError
    from vlad.heads import load_head
    from vlad.scoring.panel import Panel
    from vlad.system.allocator import keep_freed_memory
    from vlad.system.machine import peak_memory

    keep_freed_memory()  # as the command does
    warnings.simplefilter("ignore")
    folder, side = weights / name, BACKBONES[name][1]
    if not folder.exists():
        subprocess.run([sys.executable, "-c", f"import true_size; true_size.draw({str(folder)!r})"],
                       cwd=Path(__file__).parent, check=True)  # fmt: skip
    noise = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    *normals, image = map(Image.fromarray, noise)
    try:
        backbone = load_backbone(str(folder), "cpu")
        with tempfile.TemporaryDirectory() as work:
            made = load_head(head, **params(head, backbone, Path(work)))
            panel = Panel(backbone, {head: made}, image_size=own_size(made, backbone) or side)
            start = time.perf_counter()
            if made.normals != "unused":
                panel.fit(normals)
            fit = time.perf_counter() - start
            start = time.perf_counter()
            panel.text(head, "nut")  # of a category, once
            words = time.perf_counter() - start
            bare = made.spec(backbone.info).without_backbone
            batch = [panel.prepare(image)]
            pools: dict = {}
            start = time.perf_counter()
            panel.score(batch, "nut", pools)
            if pools:  # heads that judge a list: two images are the least
                panel.score(batch, "nut", pools)
                list(pools[head].scores())
            seconds = (time.perf_counter() - start) / (1 + bool(pools))
    except VladError as error:
        return {"refused": str(error)}
    passes = panel.clock.seconds["backbone"] / (1 + bool(pools))
    ratio = None if bare else seconds / passes
    found = {"seconds": seconds, "ratio": ratio, "fit": fit, "words": words}
    return {**found, "gib": peak_memory() / 1024}


def own_size(head, backbone) -> int | None:
    """The input size that a head fixes."""
    return head.spec(backbone.info).image_size


def params(head: str, backbone, work: Path) -> dict:
    """A random adapter if the head needs one, and few steps if it optimises."""
    from inspect import signature

    from seeded import random_adapter

    from vlad.heads import head_maker, load_head

    found: dict = {}
    if getattr(load_head(head), "needs_adapter", False):
        found["adapter"] = str(random_adapter(head, backbone, work / head))
    few = {"steps", "epochs"} & {*signature(head_maker(head)).parameters}
    return found | dict.fromkeys(few, STEPS)


def draw(folder: str) -> None:
    """Save a model with random weights, as its library does."""
    import torch

    torch.manual_seed(0)
    makers = {"dinov2": _dinov2, "dinov3": _dinov3, "efficientnet": _timm}
    makers.get(Path(folder).name, _open_clip)(Path(folder))


def _open_clip(folder: Path) -> None:
    import open_clip
    from safetensors.torch import save_file

    name = {"clip": "ViT-L-14-336", "siglip2": "ViT-SO400M-16-SigLIP2-384"}[folder.name]
    config = open_clip.get_model_config(name)
    model = open_clip.create_model(name, load_weights=False)
    look = dict(model.visual.preprocess_cfg)
    folder.mkdir(parents=True)
    if config["text_cfg"].pop("hf_tokenizer_name", None):
        config["text_cfg"]["hf_tokenizer_name"] = "local"
        _words(config["text_cfg"]["vocab_size"]).save_pretrained(folder)
    file = {"model_cfg": config, "preprocess_cfg": {k: look[k] for k in ("mean", "std")}}
    (folder / "open_clip_config.json").write_text(json.dumps(file))
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")


def _dinov2(folder: Path) -> None:
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=518,
        patch_size=14,
    )
    Dinov2WithRegistersModel(config).save_pretrained(folder)
    _preprocessor(folder, 518)


def _dinov3(folder: Path) -> None:
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    config = DINOv3ViTConfig(
        hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
        image_size=224, patch_size=16, num_register_tokens=4,
    )  # fmt: skip
    DINOv3ViTModel(config).save_pretrained(folder)
    _preprocessor(folder, 224)


def _timm(folder: Path) -> None:
    from timm import create_model
    from timm.models import save_for_hf

    save_for_hf(create_model("tf_efficientnet_b4"), str(folder), safe_serialization=True)


def _preprocessor(folder: Path, side: int) -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    file = {"image_mean": mean, "image_std": std, "size": {"height": side, "width": side}}
    (folder / "preprocessor_config.json").write_text(json.dumps({**file, "resample": 3}))


def _words(size: int):
    """A tokenizer of letters: time does not depend on which tokens a sentence has."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<pad>": 0, "<eos>": 1, "<unk>": 2}
    vocabulary |= {chr(code): 3 + i for i, code in enumerate(range(32, min(127, size)))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


if __name__ == "__main__":
    main()
