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


def layers_of(memory: Mapping[str, torch.Tensor]) -> Iterator[str]:
    """The names of its layers."""
    return (name for name in memory if "." not in name and name not in (IMAGES, GRID))


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
        for name, tokens in head.compared(features):
            rows = tokens.flatten(0, 1)[kept]
            if head.metric == "cosine":
                rows = F.normalize(rows, dim=-1)
            if head.whiten:
                new, before = Moments.of(rows), self.moments.get(name)
                self.moments[name] = before.merge(new) if before else new
            parts = self.rows.setdefault(name, [])
            parts.append(rows)
            if head.limit and sum(map(len, parts)) > 2 * head.limit:
                self.rows[name] = [limited(head, torch.cat(parts), self.moments.get(name))]
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
            rows, moments = torch.cat(parts), self.moments.get(name)
            memory[name] = thinned(head, limited(head, rows, moments), moments, head.coreset)
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
    joined = {name: torch.cat([first[name], second[name]]) for name in layers_of(first)}
    memory = {name: limited(head, rows, moments.get(name)) for name, rows in joined.items()}
    memory |= stored(moments)
    if GRID in first:
        memory[GRID] = first[GRID]
    if IMAGES in first:
        memory[IMAGES] = torch.cat([first[IMAGES], second[IMAGES]])
    return memory


def union(
    head: Memory, memories: list[Mapping[str, torch.Tensor]], share: float | None
) -> dict[str, torch.Tensor]:
    """All memories as one, of which a share of the tokens is kept; None keeps all."""
    memory = dict(memories[0])
    for other in memories[1:]:
        memory = merged(head, memory, other)
    moments = known_moments(memory)
    for name in layers_of(memory):
        memory[name] = thinned(head, memory[name], moments.get(name), share)
    return memory


def limited(head: Memory, rows: torch.Tensor, moments: Moments | None) -> torch.Tensor:
    """At most as many rows as the head may keep."""
    if not head.limit or len(rows) <= head.limit:
        return rows
    return _coreset(head, rows, moments, head.limit)


def thinned(
    head: Memory, rows: torch.Tensor, moments: Moments | None, share: float | None
) -> torch.Tensor:
    """A share of the rows; None keeps all."""
    if share is None:
        return rows
    return _coreset(head, rows, moments, max(1, int(share * len(rows))))


def _coreset(head: Memory, rows: torch.Tensor, moments: Moments | None, size: int) -> torch.Tensor:
    """Rows that cover all others where they are compared."""
    if moments:
        check(head, {"": moments})
    return rows[greedy_coreset(Space(head.metric, moments)(rows), size)]


def check_grid(head: Memory, known: tuple[int, int], given: tuple[int, int]) -> None:
    """Raise a HeadError if two grids of patches differ."""
    if known != given:
        raise HeadError(
            f"Head {head.name} learned {known[0]}×{known[1]} patches an image, but one has "
            f"{given[0]}×{given[1]}; give images of one size, or fit it again at this size."
        )
