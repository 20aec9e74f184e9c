"""Features of the training pairs: the network never changes, so each image passes it once."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from tiny.data import Pairs
from tiny.losses import patch_labels
from vlad.backbones.efficientnet import MEAN, STD
from vlad.backbones.tiny.model import Tiny

BATCH = 16


@dataclass
class Features:
    """Of P pairs: `tokens` (P, 2, N, F) in half precision, `labels` (P, N) of the first images'
    patches (the second images are sound), `names` P pairs of captions."""

    tokens: torch.Tensor
    labels: torch.Tensor
    names: list


def pixels(images):
    """uint8 (B, H, W, 3) to normalised float (B, 3, H, W)."""
    x = torch.from_numpy(np.stack(images)).float() / 255
    return ((x - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)


@torch.no_grad()
def extract(model: Tiny, pairs: Pairs, file: Path) -> Features:
    """The features of all pairs, from the file if an earlier run wrote it."""
    if file.exists():
        return Features(**torch.load(file, weights_only=True))
    tokens, labels, names = [], [], []
    for batch in DataLoader(pairs, BATCH, num_workers=1, collate_fn=list):
        images = [image for a, _, b, _ in batch for image in (a, b)]
        tokens.append(model.stages(pixels(images)).flatten(2).mT.half().unflatten(0, (-1, 2)))
        masks = torch.from_numpy(np.stack([mask for _, mask, _, _ in batch]))
        labels.append(patch_labels(masks.float() / 255))
        names += [list(said) for *_, said in batch]
        print(len(names), "of", len(pairs), "pairs", flush=True)
    found = Features(torch.cat(tokens), torch.cat(labels), names)
    torch.save(vars(found), file.with_suffix(".part"))
    file.with_suffix(".part").replace(file)
    return found
