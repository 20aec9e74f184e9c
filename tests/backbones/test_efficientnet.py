"""Our EfficientNet-Lite0 computes what timm's does."""

import pytest
import timm
import torch
from torch.nn.utils.fusion import fuse_conv_bn_weights

from vlad.backbones.efficientnet import EfficientNetLite

# timm's names in a unit without and with expansion
PLAIN = {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")}
EXPANDED = {
    "expand": ("conv_pw", "bn1"),
    "depthwise": ("conv_dw", "bn2"),
    "project": ("conv_pwl", "bn3"),
}


def fused(convolution: torch.nn.Conv2d, norm: torch.nn.BatchNorm2d) -> tuple[torch.Tensor, ...]:
    return fuse_conv_bn_weights(
        convolution.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight,
        norm.bias,
    )  # fmt: skip


@pytest.fixture(scope="module")
def both():
    """timm's module with random weights and norms, and ours with the same."""
    torch.manual_seed(0)
    theirs = timm.create_model("tf_efficientnet_lite0").eval().requires_grad_(False)
    theirs.double()  # so much depth amplifies the rounding of float32
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for name, lowest in (("weight", 1.0), ("bias", -0.5), ("running_mean", -0.5)):
                getattr(module, name).copy_(torch.rand(module.num_features).double() + lowest)
            module.running_var.copy_(torch.rand(module.num_features) + 0.5)
    pairs = {"stem": (theirs.conv_stem, theirs.bn1)}
    for b, block in enumerate(theirs.blocks):
        for u, unit in enumerate(block):
            for own, names in (EXPANDED if hasattr(unit, "conv_pwl") else PLAIN).items():
                pairs[f"blocks.{b}.{u}.{own}"] = tuple(getattr(unit, name) for name in names)
    state = {}
    for place, pair in pairs.items():
        state[f"{place}.weight"], state[f"{place}.bias"] = fused(*pair)
    ours = EfficientNetLite()
    ours.load_state_dict(state, assign=True)
    return theirs, ours.requires_grad_(False)


# an odd side and odd sides on the way: zeros are then split otherwise
@pytest.mark.parametrize("shape", [(64, 64), (75, 98)])
def test_blocks_equal_those_of_timm(both, shape):
    theirs, ours = both
    pixels = torch.randn(2, 3, *shape).double()
    found = ours(pixels, range(1, 8))
    x = theirs.bn1(theirs.conv_stem(pixels))
    for number, block in enumerate(theirs.blocks, 1):
        x = block(x)
        torch.testing.assert_close(found[number], x, rtol=1e-5, atol=1e-5)
        assert found[number].shape[1] == ours.channels[number - 1]
        assert found[number].shape[2] == -(-shape[0] // ours.strides[number - 1])


def test_only_blocks_up_to_the_last_one_run(both):
    _, ours = both
    ran = []
    for number, block in enumerate(ours.blocks, 1):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    assert set(ours(torch.randn(1, 3, 32, 32).double(), {2, 4})) == {2, 4}
    assert ran == [1, 2, 3, 4]
