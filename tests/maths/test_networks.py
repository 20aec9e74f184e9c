"""Networks as functions of tensors give what torch's modules give, in training and after it."""

import pytest
import torch
from torch import nn

from vlad.maths.networks import batch_norm, bottleneck, decode, perceptron, pooled


@pytest.fixture
def seeded():
    torch.manual_seed(0)


def tensors_of(module, prefix):
    """As an adapter holds them."""
    return {f"{prefix}.{name}": x.detach().clone() for name, x in module.state_dict().items()}


DECODER = nn.Sequential(
    nn.Conv2d(6, 4, 3, padding=1, bias=False),
    nn.BatchNorm2d(4),
    nn.ReLU(),
    nn.ConvTranspose2d(4, 4, 2, stride=2),
    nn.Conv2d(4, 2, 3, padding=1, bias=False),
    nn.BatchNorm2d(2),
    nn.ReLU(),
    nn.ConvTranspose2d(2, 2, 2, stride=2),
    nn.Conv2d(2, 2, 1),
)
PERCEPTRON = nn.Sequential(
    nn.Linear(6, 4, bias=False),
    nn.BatchNorm1d(4),
    nn.ReLU(),
    nn.Linear(4, 2, bias=False),
    nn.BatchNorm1d(2),
    nn.ReLU(),
    nn.Linear(2, 2, bias=False),
)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("module", "function", "shape"),
    [(DECODER, decode, (3, 6, 5, 5)), (PERCEPTRON, perceptron, (5, 6))],
)
def test_values_and_running_statistics(seeded, module, function, shape, training):
    tensors = tensors_of(module, "net")
    module.train(training)
    for _ in range(2):  # the second time, the statistics have moved
        x = torch.randn(shape)
        torch.testing.assert_close(function(x, tensors, "net", training), module(x))
    for name, x in tensors_of(module, "net").items():
        if "num_batches" not in name:
            torch.testing.assert_close(tensors[name], x)


def test_a_bottleneck_adds_to_what_it_reads(seeded):
    norm = tensors_of(nn.BatchNorm1d(2), "a.norm")
    tensors = {"a.down.weight": torch.randn(2, 6), "a.up.weight": torch.zeros(6, 2), **norm}
    x = torch.randn(7, 6)
    torch.testing.assert_close(bottleneck(x, tensors, "a", training=False), x)
    tensors["a.up.weight"] = torch.randn(6, 2)
    inside = (x @ tensors["a.down.weight"].T / (1 + 1e-5) ** 0.5).relu()
    expected = x + inside @ tensors["a.up.weight"].T
    torch.testing.assert_close(bottleneck(x, tensors, "a", training=False), expected)


def test_a_single_value_is_normalised_by_the_running_statistics():
    tensors = tensors_of(nn.BatchNorm1d(3), "norm")
    found = batch_norm(torch.full((1, 3), 2.0), tensors, "norm", training=True)
    torch.testing.assert_close(found, torch.full((1, 3), 2.0))
    assert (tensors["norm.running_mean"] == 0).all()


@pytest.mark.parametrize(("top", "expected"), [(2, (2.5 + 3.5) / 2), (9, 2.5)])
def test_pooled(top, expected):
    x = torch.tensor([1.0, 4.0, 2.0, 3.0]).view(1, 1, 2, 2)
    assert pooled(x, top).item() == expected
