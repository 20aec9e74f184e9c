"""A seeded batch, and learners on the small tower."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from vlad.adapters import Adapter
from vlad.adapters.layouts import default_params, tensor_shapes
from vlad.extractor import Extractor
from vlad.training.feed import Batch
from vlad.training.learner import Learner
from vlad.training.recipe import load_recipe


@pytest.fixture(scope="session")
def make_learner(small_tower):
    """head -> (learner with seeded tensors on the small tower, its recipe)."""

    def make(head: str):
        recipe = load_recipe(head)
        params = default_params(head, small_tower.info) | {"image_size": 64}
        generator = torch.Generator().manual_seed(0)
        tensors = {
            name: 0.1 * torch.randn(shape, generator=generator)
            for name, shape in tensor_shapes(head, small_tower.info, params).items()
        }
        adapter = Adapter(head, head, "small", "nothing", params, tensors)
        return Learner(Extractor(small_tower, 64), adapter, list(recipe.losses)), recipe

    return make


@pytest.fixture(scope="session")
def batch(small_tower, drawn) -> Batch:
    """Four pictures of two categories, two of them with a defect; pixels, not features."""
    from vlad.types import FeatureSpec

    extractor = Extractor(small_tower, 64)
    prepared = [extractor.prepare(image, [FeatureSpec()]) for image in drawn[2:]]
    masks = np.zeros((4, 64, 64), np.float32)
    masks[2, 20:34, 20:40], masks[3, 5:9, 40:60] = 1, 1
    return Batch(
        features=None,
        prepared=prepared,
        labels=torch.tensor([0.0, 0.0, 1.0, 1.0]),
        masks=torch.from_numpy(masks),
        masked=torch.ones(4, dtype=torch.bool),
        categories=["bolt", "bolt", "nut", "bolt"],
    )


@pytest.fixture(scope="session")
def part_of(batch):
    """Some of the pictures of the batch."""

    def take(index: list[int]) -> Batch:
        return replace(
            batch,
            prepared=[batch.prepared[i] for i in index],
            labels=batch.labels[index],
            masks=batch.masks[index],
            masked=batch.masked[index],
            categories=[batch.categories[i] for i in index],
        )

    return take
