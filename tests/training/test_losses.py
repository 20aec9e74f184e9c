"""Losses against plain formulas, against the authors' programs, and in parts of a batch."""

import json
import math

import numpy as np
import pytest
import torch

from vlad.training.losses import cross_entropy, dice, focal
from vlad.training.objectives import IMAGE_LOSSES, LOSSES


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    return random.random((3, 5, 4)), (random.random((3, 5, 4)) > 0.7).astype(float)


def test_focal(arrays):
    p, t = arrays
    for image in range(3):
        total = 0
        for probability, target in zip(p[image].flat, t[image].flat, strict=True):
            anomalous = min(max(target, 1e-5), 1 - 1e-5)
            normal = min(max(1 - target, 1e-5), 1 - 1e-5)
            true = anomalous * probability + normal * (1 - probability) + 1e-5
            total += -((1 - true) ** 2) * math.log(true)
        found = focal(torch.tensor(p), torch.tensor(t))[image]
        assert float(found) == pytest.approx(total / 20, rel=1e-6)


def test_dice(arrays):
    p, t = arrays
    found = dice(torch.tensor(p), torch.tensor(t))
    for image in range(3):
        overlap = sum(a * b for a, b in zip(p[image].flat, t[image].flat, strict=True))
        expected = 1 - (2 * overlap + 1) / (p[image].sum() + t[image].sum() + 1)
        assert float(found[image]) == pytest.approx(expected, rel=1e-6)


def test_cross_entropy():
    logits = torch.tensor([[0.3, 1.2], [2.0, -1.0]])
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([1, 0]), reduction="none")
    found = cross_entropy(logits[:, 1] - logits[:, 0], torch.tensor([1, 0]))
    torch.testing.assert_close(found, expected)


def test_cross_entropy_of_probabilities():
    logits = torch.tensor([[0.3, 1.2], [2.0, -1.0]])
    label = torch.tensor([1, 0])
    expected = torch.nn.functional.cross_entropy(logits.softmax(dim=1), label, reduction="none")
    find = IMAGE_LOSSES["image_cross_entropy_twice"]
    torch.testing.assert_close(find(logits[:, 1] - logits[:, 0], label), expected)
    assert find(torch.tensor([100.0]), torch.tensor([1])).item() == pytest.approx(0.3133, abs=1e-4)


def test_values_of_the_authors_programs(parity):
    arrays = np.load(parity.folder / "losses_metrics.npz")
    expected = json.loads((parity.folder / "losses_metrics.json").read_text())
    p, t = torch.from_numpy(arrays["prob2"])[:, 1], torch.from_numpy(arrays["gt"])
    for program in ("AnomalyCLIP", "APRIL-GAN", "AdaCLIP", "CLIP-AD"):
        values = expected[program]
        assert focal(p, t).mean().item() == pytest.approx(values["focal"], rel=1e-6)
        assert dice(p, t).mean().item() == pytest.approx(values["dice_abnormal"], rel=1e-6)
        assert dice(1 - p, 1 - t).mean().item() == pytest.approx(values["dice_normal"], rel=1e-6)


@pytest.mark.parametrize("head", ["april_gan", "anomalyclip", "tipsomaly", "uniadet"])
def test_any_split_of_a_batch_gives_the_same_mean(make_learner, batch, part_of, head):
    learner, _ = make_learner(head)
    learner.losses = list(LOSSES)
    with torch.no_grad():
        whole = learner(batch)
        parts = [learner(part_of(index)) for index in ([0], [1, 2, 3])]
    for name in LOSSES:
        mean = 0.25 * parts[0][name] + 0.75 * parts[1][name]
        torch.testing.assert_close(mean, whole[name], rtol=1e-5, atol=1e-6)


def test_without_masks_only_the_image_counts(make_learner, batch, part_of):
    learner, _ = make_learner("uniadet")
    blind = part_of([0, 2])
    blind.masked[:] = False
    losses = learner(blind)
    assert losses["image_cross_entropy"] > 0
    assert all(losses[name] == 0 for name in losses if name.startswith("map"))
    half = part_of([0, 2])
    half.masked[0] = False
    for name in ("map_focal", "map_dice_anomalous"):
        torch.testing.assert_close(learner(half)[name], learner(part_of([2]))[name])
