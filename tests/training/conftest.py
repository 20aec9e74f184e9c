"""A seeded batch, learners on the small backbone, and the command on drawn images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from vlad.adapters import Adapter
from vlad.adapters.layouts import default_params, tensor_shapes
from vlad.cli import main
from vlad.scoring.extractor import Extractor
from vlad.training.feed import Batch
from vlad.training.learner import Learner
from vlad.training.recipe import load_recipe

RECIPE = """
head = "{head}"
epochs = 3
batch_size = 4
seed = 5
{more}
[optimiser]
lr = 0.01
[losses]
image_cross_entropy = 1.0
map_focal = 1.0
map_dice_anomalous = 1.0
"""


@pytest.fixture(scope="session")
def make_learner(small_backbone):
    """head -> (learner with seeded tensors on the small backbone, its recipe)."""

    def make(head: str):
        recipe = load_recipe(head)
        params = default_params(head, small_backbone.info) | {"image_size": 64}
        generator = torch.Generator().manual_seed(0)
        tensors = {
            name: 0.1 * torch.randn(shape, generator=generator)
            for name, shape in tensor_shapes(head, small_backbone.info, params).items()
        }
        for name, x in tensors.items():
            if name.endswith("running_var"):  # no variance is negative
                x.abs_().add_(1)
        adapter = Adapter(head, head, "small", "nothing", params, tensors)
        return Learner(Extractor(small_backbone, 64), adapter, list(recipe.losses)), recipe

    return make


@pytest.fixture(scope="session")
def batch(small_backbone, drawn) -> Batch:
    """Four images of two categories, two of them with a defect; pixels, not features."""
    from vlad.types import FeatureSpec

    extractor = Extractor(small_backbone, 64)
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
    """Some of the images of the batch."""

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


@pytest.fixture
def tree(category, tmp_path):
    """Two categories of five images each, which differ in content."""
    for turn, name in enumerate(("bolt", "nut")):
        folder = tmp_path / "data" / name
        category(folder, normal=3)
        for path in folder.glob("test/*/*.png"):
            pixels = np.asarray(Image.open(path))
            Image.fromarray(pixels - 3 * turn).save(path)
    return tmp_path / "data"


@pytest.fixture
def recipe(tmp_path):
    def write(head="uniadet", more=""):
        file = tmp_path / f"{head}.toml"
        file.write_text(RECIPE.format(head=head, more=more))
        return file

    return write


@pytest.fixture
def run(small_file, tree, recipe):
    def run(out, *args, data=None, head="uniadet", more="", licence="CC0-1.0"):
        words = ["train", recipe(head, more), "--data", data or tree, "--out", out]
        words += ["--backbone", small_file, "--device", "cpu", "--licence", licence, *args]
        return CliRunner().invoke(main, [str(word) for word in words])

    return run
