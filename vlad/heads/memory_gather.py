"""How the head memory learns from normal images batch by batch, and joins what two have learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from vlad.errors import HeadError
from vlad.heads.memory_layer import Space
from vlad.heads.moments import check, moments_of, stored
from vlad.maths.moments import Moments
from vlad.maths.neighbours import greedy_coreset
from vlad.types import Features

if TYPE_CHECKING:
    from vlad.heads.memory import Memory

# of a memory, besides the tokens of layers and their moments: (N, D) image embeddings, (2,) grid
IMAGES, GRID = "images", "grid"
# where only some tokens are kept, after the name of a layer: (M, 2) image and place of each, every
# view counted as an image; and (2,) how many images were shown, and 0, to be added to them
ORIGIN, SHOWN = ":origin", "shown:"
Chosen = torch.Tensor | slice  # indices of rows


def layers_of(memory: Mapping[str, torch.Tensor]) -> Iterator[str]:
    """The names of its layers."""
    others = (IMAGES, GRID)
    return (n for n in memory if "." not in n and ":" not in n and n not in others)


def known_moments(memory: Mapping[str, torch.Tensor]) -> dict[str, Moments]:
    """Layer -> moments of its tokens; none if they are not whitened."""
    return moments_of({name: x for name, x in memory.items() if "." in name})


def grid_of(memory: Mapping[str, torch.Tensor]) -> tuple[int, int]:
    """(h, w) of each image, where places or images are told apart."""
    height, width = map(int, memory[GRID])
    return height, width


class MemoryGather:
    """Keeps the tokens of normal images; with a `limit`, at most twice as many and an image."""

    def __init__(self, head: Memory):
        self.head = head
        self.rows: dict[str, list[torch.Tensor]] = {}
        self.origins: dict[str, list[torch.Tensor]] = {}
        self.shown = 0
        self.moments: dict[str, Moments] = {}
        self.images: list[torch.Tensor] = []
        self.grid: tuple[int, int] | None = None

    def add(self, features: Features) -> None:
        """Add a batch.

        Raises:
            HeadError: a grid unlike the one before, where places or images are told apart.
        """
        # with a limit image by image, so that the size of batches changes nothing
        images = len(next(iter(features.patches.values()))) if self.head.limit else 1
        for i in range(images):
            self._add(features.at(i) if images > 1 else features)

    def _add(self, features: Features) -> None:
        head = self.head
        kept = head.on_object(features).flatten() if head.mask_references else slice(None)
        compared = head.compared(features)
        first = self.shown
        self.shown += len(compared[0][1])
        for name, tokens in compared:
            rows = tokens.flatten(0, 1)[kept]
            if head.metric == "cosine":
                rows = F.normalize(rows, dim=-1)
            if head.whiten:
                new, before = Moments.of(rows), self.moments.get(name)
                self.moments[name] = before.merge(new) if before else new
            parts = self.rows.setdefault(name, [])
            parts.append(rows)
            if not head.forgets:
                continue
            origins = self.origins.setdefault(name, [])
            origins.append(_origin(tokens, first)[kept])
            if head.limit and sum(map(len, parts)) > 2 * head.limit:
                joined = torch.cat(parts)
                chosen = limited(head, joined, self.moments.get(name))
                self.rows[name] = [joined[chosen]]
                self.origins[name] = [torch.cat(origins)[chosen]]
        if head.by_image:
            check_grid(head, self.grid or features.grid, features.grid)
            self.grid = features.grid
            if head.nearest_images is not None:
                assert features.image is not None  # the spec asks for it
                self.images.append(features.image)

    def finish(self) -> None:
        """Store what is kept in the head's memory.

        Raises:
            HeadError: tokens to be whitened that tell no spread.
        """
        head = self.head
        check(head, self.moments)
        memory: dict[str, torch.Tensor] = {}
        for name, parts in self.rows.items():
            memory[name] = torch.cat(parts)
            if head.forgets:
                memory[name + ORIGIN] = torch.cat(self.origins[name])
                memory[SHOWN] = torch.tensor([self.shown, 0.0], device=memory[name].device)
            moments = self.moments.get(name)
            keep(memory, name, limited(head, memory[name], moments))
            keep(memory, name, thinned(head, memory[name], moments, head.coreset))
        memory |= stored(self.moments)
        if self.grid:
            memory[GRID] = torch.tensor(self.grid, dtype=torch.float32)
        if self.images:
            memory[IMAGES] = torch.cat(self.images)
        head.memory_ = memory


def merged(
    head: Memory, first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The memory of the images of both; of coresets, their union.

    Raises:
        HeadError: grids that differ.
    """
    if GRID in first:
        check_grid(head, grid_of(first), grid_of(second))
    others = known_moments(second)
    moments = {name: one.merge(others[name]) for name, one in known_moments(first).items()}
    memory = {name: torch.cat([first[name], second[name]]) for name in layers_of(first)}
    if SHOWN in first and SHOWN in second:
        memory[SHOWN] = first[SHOWN] + second[SHOWN]
    for name in layers_of(first):
        if SHOWN in memory:
            later = second[name + ORIGIN] + first[SHOWN]
            memory[name + ORIGIN] = torch.cat([first[name + ORIGIN], later])
        keep(memory, name, limited(head, memory[name], moments.get(name)))
    memory |= stored(moments)
    if GRID in first:
        memory[GRID] = first[GRID]
    if IMAGES in first:
        memory[IMAGES] = torch.cat([first[IMAGES], second[IMAGES]])
    return memory


def union(
    head: Memory, memories: list[Mapping[str, torch.Tensor]], share: float | None
) -> dict[str, torch.Tensor]:
    """All memories as one, of which a share of the tokens is kept; None keeps all.

    It does not know which patches they are, since the images of the parts come in no one order.
    """
    memory = dict(memories[0])
    for other in memories[1:]:
        memory = merged(head, memory, other)
    moments = known_moments(memory)
    memory = {name: x for name, x in memory.items() if ":" not in name}
    for name in layers_of(memory):
        keep(memory, name, thinned(head, memory[name], moments.get(name), share))
    return memory


def _origin(tokens: torch.Tensor, first: int) -> torch.Tensor:
    """(B·N, 2) image and place of (B, N, C) tokens, images counted from `first`."""
    images = torch.arange(first, first + len(tokens))
    places = torch.cartesian_prod(images, torch.arange(tokens.shape[1]))
    # exact up to 16 million images; memories are of floating point
    return places.to(tokens.device, torch.float32)


def keep(memory: dict[str, torch.Tensor], name: str, chosen: Chosen) -> None:
    """Keep some tokens of a layer, and which patches they are."""
    for part in (name, name + ORIGIN):
        if part in memory:
            memory[part] = memory[part][chosen]


def limited(head: Memory, rows: torch.Tensor, moments: Moments | None) -> Chosen:
    """Indices of at most as many rows as the head may keep."""
    if not head.limit or len(rows) <= head.limit:
        return slice(None)
    return _coreset(head, rows, moments, head.limit)


def thinned(
    head: Memory, rows: torch.Tensor, moments: Moments | None, share: float | None
) -> Chosen:
    """Indices of a share of the rows; None keeps all."""
    if share is None:
        return slice(None)
    return _coreset(head, rows, moments, max(1, int(share * len(rows))))


def _coreset(head: Memory, rows: torch.Tensor, moments: Moments | None, size: int) -> torch.Tensor:
    """Indices of rows that cover all others where they are compared."""
    if moments:
        check(head, {"": moments})
    return greedy_coreset(Space(head.metric, moments)(rows), size)


def check_grid(head: Memory, known: tuple[int, int], given: tuple[int, int]) -> None:
    """Raise a HeadError if two grids of patches differ."""
    if known != given:
        raise HeadError(
            f"Head {head.name} learned {known[0]}×{known[1]} patches an image, but one has "
            f"{given[0]}×{given[1]}; give images of one size, or fit it again at this size."
        )
