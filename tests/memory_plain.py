"""A slow plain version of the head memory, patch by patch."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from vlad.types import Features


def plain(head, normals: Features, features: Features) -> torch.Tensor:
    """(B, h, w) distances, by the options position, nearest_images, whiten, metric, layers."""
    layers = [
        one_layer(head, normals.patches[name], tokens, normals, features)
        for name, tokens in features.patches.items()
    ]
    return torch.stack(layers).mean(dim=0).unflatten(1, features.grid).float()


def one_layer(head, known, tokens, normals, features) -> torch.Tensor:
    known, tokens = known.double(), tokens.double()
    if head.metric == "cosine":
        known, tokens = F.normalize(known, dim=-1), F.normalize(tokens, dim=-1)
    if head.whiten:
        known, tokens = whitened(known.flatten(0, 1), known, tokens)
    euclidean = head.whiten or head.metric == "squared_l2"
    height, width = features.grid
    found = torch.empty(tokens.shape[:2], dtype=torch.float64)
    for b in range(len(tokens)):
        images = range(len(known))
        if head.nearest_images is not None:
            like = [F.cosine_similarity(features.image[b], one, dim=0) for one in normals.image]
            images = sorted(images, key=lambda i: -like[i])[: head.nearest_images]
        for p in range(height * width):
            best = float("inf")
            for n in images:
                for q in range(height * width):
                    away = max(abs(p // width - q // width), abs(p % width - q % width))
                    if head.position is not None and away > head.position:
                        continue
                    x, y = tokens[b, p], known[n, q]
                    distance = (x - y).square().sum() if euclidean else 1 - x @ y
                    best = min(best, distance.item())
            found[b, p] = best
    return found


def whitened(rows: torch.Tensor, *others: torch.Tensor) -> list[torch.Tensor]:
    """Tokens along the principal components that hold 99 % of the variance of rows, over their
    shrunk deviations."""
    from sklearn.covariance import ledoit_wolf

    centred = rows - rows.mean(dim=0)
    values, axes = torch.linalg.eigh(centred.T @ centred / len(rows))
    _, share = ledoit_wolf(rows.numpy())
    total, held, scaled = values.sum().item(), 0.0, []
    for i in values.argsort(descending=True).tolist():
        if held >= 0.99 * total:
            break
        held += values[i].item()
        shrunk = (1 - share) * values[i] + share * values.mean()
        scaled.append(axes[:, i] / shrunk.sqrt())
    return [(x - rows.mean(dim=0)) @ torch.stack(scaled, dim=1) for x in others]
