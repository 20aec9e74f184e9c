"""A small CLIP whose sentences stand where a test wants them, and images that they tell apart."""

import copy

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

BANK = """
title = "Plates"
source = "the tests"
licence = "CC0-1.0"
templates = ["a photo of a {}.", "the {} here."]
[states]
normal = ["{}", "clean {}", "whole {}"]
anomalous = ["bent {}", "stained {}", "torn {}", "wet {}"]
"""
PLANTED = "stained"  # in the state that names the defect
WRONG = ("bent", "torn", "wet")  # in those that name what the images do not have


def draw(folder, count=24):
    """A data set with `count` plain and as many stained images."""
    for kind, stained in (("good", False), ("stain", True)):
        for i in range(count):
            random = np.random.default_rng([i, stained])
            pixels = random.normal(120, 40, (64, 64, 3))
            if stained:
                top, left = random.integers(0, 24, 2)
                pixels[top : top + 40, left : left + 40] = (230, 30, 40)
            # half of the good ones are for training
            split = "train" if kind == "good" and i % 2 else "test"
            file = folder / split / kind / f"{i:02}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)


def plant(clip, sentences, images, labels, file):
    """Write a copy of a CLIP that embeds PLANTED near the defects, WRONG away, all else at random.

    Its text projection is solved for that, so there may be no more sentences than channels.

    Args:
        images: (I, D) embeddings of images with labels (I,).
    """
    model = copy.deepcopy(clip)
    x = F.normalize(images, dim=-1)
    toward = F.normalize(x[labels == 1].mean(dim=0) - x[labels == 0].mean(dim=0), dim=0)
    targets = torch.randn(len(sentences), x.shape[1], generator=torch.Generator().manual_seed(0))
    targets -= (targets @ toward)[:, None] * toward
    for i, sentence in enumerate(sentences):
        away = any(word in sentence for word in WRONG)
        targets[i] += (8 * (PLANTED in sentence) - 2.5 * away) * toward
    with torch.no_grad():
        width = model.text_projection.shape[0]
        model.text_projection = torch.nn.Parameter(torch.eye(width))
        hidden = model.encode_text(open_clip.tokenize(sentences))
        solved = torch.linalg.lstsq(hidden.double(), targets.double(), driver="gelsd").solution
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    save_file(state | {"text_projection": solved.float().contiguous()}, file)
