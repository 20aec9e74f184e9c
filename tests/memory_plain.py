"""A slow plain version of the head memory, patch by patch, and what to try it on."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from vlad.heads import load_head
from vlad.heads.memory import Memory
from vlad.types import Features

GRID = (3, 5)


def drawn(count: int, seed: int, grid=GRID, channels: int = 6) -> Features:
    """Tokens that vary more in some channels, and embeddings."""
    generator = torch.Generator().manual_seed(seed)
    places = grid[0] * grid[1]
    patches = {
        n: torch.randn(count, places, channels, generator=generator)
        * torch.linspace(0.2, 3, channels)
        + n
        for n in (1, 2)
    }
    image = torch.randn(count, 4, generator=generator)
    return Features(image, patches, grid, (grid[0] * 8, grid[1] * 8))


def named(**options) -> Memory:
    """A head as options make it."""
    head = load_head("memory", **options)
    assert isinstance(head, Memory)
    return head


def quiet(found: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """(B, N), each at the border no more than its neighbour inside."""
    found = found.unflatten(1, grid).clone()
    inner = found.clone()
    for y in range(grid[0]):
        for x in range(grid[1]):
            near = inner[:, min(max(y, 1), grid[0] - 2), min(max(x, 1), grid[1] - 2)]
            found[:, y, x] = torch.minimum(inner[:, y, x], near)
    return found.flatten(1)


def plain(head, normals: Features, features: Features, border=quiet) -> torch.Tensor:
    """(B, h, w) distances, by position, nearest_images, whiten, metric, layers, self_reference.

    Args:
        border: what becomes of distances inside an image.
    """
    found = distances(head, normals, features)
    if head.self_reference:
        apart = []
        for n in range(len(normals.image)):
            others = [normals.at(i) for i in range(len(normals.image)) if i != n]
            apart.append(distances(head, Features.cat(others), normals.at(n), of=normals))
        scale = torch.cat(apart).std() / inside(normals).std()
        found = found + head.self_reference * scale * border(inside(features), features.grid)
    return found.unflatten(1, features.grid).float()


def distances(head, normals: Features, features: Features, of=None) -> torch.Tensor:
    """(B, N) to normal images.

    Args:
        of: the images that tokens are whitened by, if not these.
    """
    layers = [
        one_layer(
            head, normals.patches[name], tokens, normals, features, (of or normals).patches[name]
        )
        for name, tokens in features.patches.items()
    ]
    return torch.stack(layers).mean(dim=0)


def inside(features: Features) -> torch.Tensor:
    """(B, N) distance of each patch to the one of rank 3 % in its own image."""
    layers = []
    for tokens in features.patches.values():
        unit = F.normalize(tokens.double(), dim=-1)
        cosine = unit @ unit.transpose(1, 2)
        ordered = (1 - cosine).sort(dim=-1).values  # the first one is the patch itself
        layers.append(ordered[..., max(1, round(0.03 * (tokens.shape[1] - 1)))])
    return torch.stack(layers).mean(dim=0)


def one_layer(head, known, tokens, normals, features, of) -> torch.Tensor:
    known, tokens, of = known.double(), tokens.double(), of.double()
    if head.metric == "cosine":
        known, tokens, of = (F.normalize(x, dim=-1) for x in (known, tokens, of))
    if head.whiten:
        known, tokens = whitened(of.flatten(0, 1), known, tokens)
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
