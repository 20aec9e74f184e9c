"""Memory and MuSc with many images, and training steps, on a device."""

from __future__ import annotations

import torch
from gpu_setup import Rows, Setup, photos
from gpu_speed import DTYPES, product

from vlad.adapters import Adapter
from vlad.adapters.layouts import default_params
from vlad.errors import VladError
from vlad.heads.musc import MuSc
from vlad.maths.neighbours import Bank
from vlad.scoring.extractor import Extractor
from vlad.training.feed import Batch
from vlad.training.learner import Learner, initial_tensors
from vlad.training.loop import make_optimiser
from vlad.training.recipe import TEXT_LOSSES, load_recipe, recipe_names
from vlad.types import Features

SIDE, WIDTH = 15, 896
PATCHES = SIDE * SIDE
LEARN = 4  # images in a training step


def memory(setup: Setup) -> Rows:
    """The search for the patches of a batch among those of many images."""
    queries = torch.randn(setup.batch * PATCHES, WIDTH, device=setup.device)
    for count in setup.images:
        rows = torch.randn(count * PATCHES, WIDTH, device=setup.device)
        rows /= rows.norm(dim=-1, keepdim=True)  # in place: a copy would set the peak
        for dtype in DTYPES:
            bank = Bank(rows, bfloat16=dtype == "bfloat16")
            spent = setup.seconds(lambda bank=bank: bank.nearest(queries))
            done = 2 * len(queries) * len(rows) * WIDTH / spent / product(setup, dtype)
            name = f"memory of {count} images, {dtype}"
            yield name, setup.batch / spent, "images/s", f"{done:.2f} of the product"
            del bank
        del rows
    yield setup.peak("memory")


def musc(setup: Setup) -> Rows:
    """MuSc on one block and one neighbourhood; the most images in bfloat16 alone."""
    few, many = setup.images
    for count, dtype in ((few, "float32"), (few, "bfloat16"), (many, "bfloat16")):
        pool = MuSc(r=(1,)).pool()
        for at in range(0, count, 50):
            size = min(50, count - at)
            patches = {12: torch.randn(size, PATCHES, WIDTH, device=setup.device)}
            image = torch.randn(size, 640, device=setup.device)
            half = dtype == "bfloat16"
            pool.add(Features(image, patches, (SIDE, SIDE), (240, 240), bfloat16=half))
        spent = setup.once(lambda pool=pool: [None for _ in pool.scores()])
        done = 2 * (count * PATCHES) ** 2 * WIDTH / spent / product(setup, dtype)
        beside = f"{1000 * spent / count:.1f} ms an image; {done:.2f} of the product"
        yield f"musc of {count} images, {dtype}", spent, "s", beside
        del pool
    yield setup.peak("musc")


def training(setup: Setup) -> Rows:
    """Steps of the recipes that learn from images."""
    backbone = setup.placed(setup.backbone, torch.float32)
    for name in (name for name in recipe_names() if name in setup.heads):
        recipe = load_recipe(name)
        if set(recipe.losses) & set(TEXT_LOSSES):
            continue
        try:
            extractor = Extractor(backbone)
            params = default_params(recipe.head, backbone.info)
            tensors = initial_tensors(recipe.head, extractor, params, seed=0)
            adapter = Adapter(name, recipe.head, backbone.info.name, "nothing", params, tensors)
            phase = recipe.parts[0]
            learner = Learner(extractor, adapter, list(phase.losses))
        except VladError as error:
            yield f"training step: {name}", "not measured", "", str(error)
            continue
        optimiser = make_optimiser(recipe.optimiser, learner.groups(phase))
        batch = drawn(learner, extractor)

        def step(learner=learner, phase=phase, optimiser=optimiser, batch=batch) -> None:
            losses = learner(batch)
            sum(phase.losses[kind] * x for kind, x in losses.items()).backward()
            optimiser.step()
            optimiser.zero_grad()

        spent = setup.seconds(step)
        yield f"training step: {name}", LEARN / spent, "images/s", f"batches of {LEARN}, float32"
        yield setup.peak(f"training step: {name}")


def drawn(learner: Learner, extractor: Extractor) -> Batch:
    """Hazelnuts of which half have a mask."""
    device = extractor.backbone.device
    prepared = [extractor.prepare(x, [learner.spec]) for x in photos("test", LEARN)]
    side = extractor.size(learner.spec)
    masks = torch.zeros(LEARN, side, side, device=device)
    masks[LEARN // 2 :, side // 3 : side // 2, side // 3 : side // 2] = 1
    normals = None
    if learner.head.paired:
        with torch.no_grad():
            (normals,) = extractor.extract(prepared, [learner.spec])
    return Batch(
        features=None,
        prepared=prepared,
        labels=masks.flatten(1).amax(dim=1),
        masks=masks,
        masked=torch.ones(LEARN, dtype=torch.bool, device=device),
        categories=["hazelnut"] * LEARN,
        normals=normals,
    )
