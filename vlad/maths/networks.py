"""Small networks as functions of their tensors, named as torch's modules name them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F

Tensors = Mapping[str, torch.Tensor]


def batch_norm(x: torch.Tensor, tensors: Tensors, name: str, training: bool) -> torch.Tensor:
    """(B, C, ...) normalised: by the running statistics, or by those of the batch.

    Args:
        training: whether by those of the batch, which the running ones then follow in place. A
            single value of each channel has no spread, so the running ones serve it in any case.
    """
    mean, variance, weight, bias = (
        tensors[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    several = training and x.numel() > x.shape[1]
    return F.batch_norm(x, mean, variance, weight, bias, training=several)


def linear(x: torch.Tensor, tensors: Tensors, name: str) -> torch.Tensor:
    """(..., C) -> (..., D), with tensors brought to the type and device of `x`."""
    return F.linear(x, tensors[f"{name}.weight"].to(x), tensors[f"{name}.bias"].to(x))


def bottleneck(rows: torch.Tensor, tensors: Tensors, name: str, training: bool) -> torch.Tensor:
    """(N, D) rows plus what a narrow layer makes of them."""
    narrow = F.linear(rows, tensors[f"{name}.down.weight"])
    narrow = batch_norm(narrow, tensors, f"{name}.norm", training).relu()
    return rows + F.linear(narrow, tensors[f"{name}.up.weight"])


def decode(x: torch.Tensor, tensors: Tensors, name: str, training: bool) -> torch.Tensor:
    """(B, D, h, w) -> (B, 2, 4h, 4w): two convolutions, each doubled by a transposed one."""
    for i in (0, 4):
        x = F.conv2d(x, tensors[f"{name}.{i}.weight"], padding=1)
        x = batch_norm(x, tensors, f"{name}.{i + 1}", training).relu()
        weight, bias = (tensors[f"{name}.{i + 3}.{part}"] for part in ("weight", "bias"))
        x = F.conv_transpose2d(x, weight, bias, stride=2)
    return F.conv2d(x, tensors[f"{name}.8.weight"], tensors[f"{name}.8.bias"])


def perceptron(rows: torch.Tensor, tensors: Tensors, name: str, training: bool) -> torch.Tensor:
    """(N, D) -> (N, 2): three linear layers without bias, batch norms between them."""
    for i in (0, 3):
        rows = F.linear(rows, tensors[f"{name}.{i}.weight"])
        rows = batch_norm(rows, tensors, f"{name}.{i + 1}", training).relu()
    return F.linear(rows, tensors[f"{name}.6.weight"])


def pooled(x: torch.Tensor, top: int) -> torch.Tensor:
    """(B, C, h, w) -> (B, C): half the mean and half the mean of the largest `top` values."""
    values = x.flatten(2)
    largest = values.topk(min(top, values.shape[2]), dim=2).values
    return (values.mean(dim=2) + largest.mean(dim=2)) / 2
