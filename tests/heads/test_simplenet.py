"""SimpleNet gives the numbers of its authors' program, step by step, on the same features."""

import numpy as np
import pytest
import torch

from vlad.heads import simplenet
from vlad.heads.simplenet import SimpleNet, embed, judge, make_optimisers, step
from vlad.types import Features

NAMES = {
    "pre_projection.layers.0fc.": "adapter.",
    "discriminator.body.block1.0.": "hidden.",
    "discriminator.body.block1.1.": "norm.",
    "discriminator.tail.": "last.",
}


def ours(name):
    for theirs, mine in NAMES.items():
        name = name.replace(theirs, mine)
    return name


@pytest.fixture(scope="module")
def case(parity):
    """(arrays, first tensors, vectors of the normal images, test tokens of the layers)."""
    import json

    name = "simplenet_tinydinov2_14"
    facts = json.loads((parity.folder / "cases" / f"{name}.json").read_text())
    first = parity.module("weights_dinov2").head(facts["shapes"], 0)
    tensors = {ours(k): torch.from_numpy(x).double() for k, x in first.items()}
    tokens = {
        part: torch.from_numpy(x[:2]).double() for part, x in parity.case("heads_tokens").items()
    }
    return parity.case(name), tensors, tokens


def trained(case, dtype):
    """(tensors after the four steps of the case, losses of these)."""
    _, first, tokens = case
    rows = embed(tokens["train"].to(dtype).unbind(), (8, 8), 160, pooled=256)
    tensors = {name: x.to(dtype, copy=True) for name, x in first.items()}
    optimisers = make_optimisers(tensors)
    losses = []
    for number in range(4):
        drawn = np.random.Generator(np.random.PCG64([0, 4711, number + 1]))
        noise = torch.from_numpy(0.015 * drawn.standard_normal((384, 160), np.float32)).to(dtype)
        half = rows[:6] if number % 2 == 0 else rows[6:]
        losses.append(step(half.flatten(0, 1), noise, tensors, optimisers).item())
    return {name: x.detach() for name, x in tensors.items()}, losses


def scores(tensors, tokens):
    """(7, 64) of the test images."""
    rows = embed(tokens.unbind(), (8, 8), 160, pooled=256).flatten(0, 1)
    return -judge(simplenet.adapt(rows, tensors), tensors).view(7, 64)


def test_vectors_of_the_authors(case):
    arrays, _, tokens = case
    found = embed(tokens["test"].unbind(), (8, 8), 160, pooled=256)[0, ::4]
    np.testing.assert_allclose(found, arrays["embedded"], atol=1e-12)


def test_steps_of_the_authors(case):
    arrays, _, tokens = case
    tensors, losses = trained(case, torch.float64)
    np.testing.assert_allclose(losses, arrays["losses"], atol=1e-9, rtol=0)
    compared = 0
    for name, expected in arrays.items():
        name, _, cut = ours(name).partition("[:")
        if name in tensors:
            found = tensors[name][: int(cut.rstrip("]"))] if cut else tensors[name]
            np.testing.assert_allclose(found, expected, atol=1e-9, rtol=0, err_msg=name)
            compared += 1
    assert compared == len(tensors) - 1  # the weight of `hidden` is not among the arrays
    found = scores(tensors, tokens["test"])
    np.testing.assert_allclose(found.view(7, 8, 8), arrays["patch_score"], atol=1e-9, rtol=0)


def test_single_precision_follows_double_because_still_biases_stay(case):
    """The authors' own run in single precision is 5e-4 away."""
    arrays, _, tokens = case
    tensors, _ = trained(case, torch.float32)
    found = scores(tensors, tokens["test"].float()).amax(dim=1)
    np.testing.assert_allclose(found, arrays["score"], atol=2e-5, rtol=0)
    assert np.abs(arrays["float32.score"] - arrays["score"]).max() > 1e-4


def test_maps_and_scores_of_the_authors(case, monkeypatch):
    arrays, _, tokens = case
    monkeypatch.setattr(simplenet, "POOLED", 256)
    head = SimpleNet()
    head.memory_ = {k: x.float() for k, x in trained(case, torch.float64)[0].items()}
    patches = dict(zip((4, 8), tokens["test"].float(), strict=True))
    found = head.score(Features(None, patches, grid=(8, 8), size=(112, 112)))
    np.testing.assert_allclose(found.image_score, arrays["score"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(found.anomaly_map[0], arrays["map"], atol=1e-5, rtol=0)


def test_steps_by_the_modules_of_torch():
    """Four steps of the same network, from the formulas as they are written."""
    generator = torch.Generator().manual_seed(0)
    first = {k: x.double() for k, x in simplenet.initial(6, 5, generator).items()}
    adapter = torch.nn.Linear(6, 6).double()
    hidden, norm = torch.nn.Linear(6, 5).double(), torch.nn.BatchNorm1d(5).double()
    last = torch.nn.Linear(5, 1, bias=False).double()
    modules = {"adapter": adapter, "hidden": hidden, "norm": norm, "last": last}
    for key, x in first.items():
        module, part = key.split(".")
        getattr(modules[module], part).data.copy_(x)
    judge = torch.nn.Sequential(hidden, norm, torch.nn.LeakyReLU(0.2), last)
    one = torch.optim.AdamW(adapter.parameters(), lr=1e-4, weight_decay=1e-2)
    two = torch.optim.Adam(judge.parameters(), lr=2e-4, weight_decay=1e-5)
    optimisers = make_optimisers(first)
    for _ in range(4):
        rows = torch.randn(30, 6, generator=generator, dtype=torch.float64)
        noise = 0.3 * torch.randn(30, 6, generator=generator, dtype=torch.float64)
        found = step(rows, noise, first, optimisers)
        adapted = adapter(rows)
        out = judge(torch.cat([adapted, adapted + noise]))
        loss = (0.5 - out[:30]).relu().mean() + (0.5 + out[30:]).relu().mean()
        one.zero_grad()
        two.zero_grad()
        loss.backward()
        one.step()
        two.step()
        assert found.item() == pytest.approx(loss.item(), abs=1e-12)
    for key, x in first.items():
        module, part = key.split(".")
        torch.testing.assert_close(x, getattr(modules[module], part), atol=1e-9, rtol=0)


def test_maps_do_not_go_below_their_scale_and_scores_do():
    tokens = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(0))
    features = Features(None, {1: tokens}, grid=(2, 2), size=(8, 8))
    head = SimpleNet(epochs=1).fit(features)
    bias = head.memory_["norm.bias"]
    head.memory_ = {**head.memory_, "norm.bias": bias + 100 * head.memory_["last.weight"][0].sign()}
    found = head.score(features)
    assert found.anomaly_map.min() == head.map_range[0] == -5
    assert found.image_score.max() < -5


def test_first_tensors():
    """Xavier's normal rule for weights, torch's for biases."""
    found = simplenet.initial(300, 400, torch.Generator().manual_seed(0))
    assert found["adapter.weight"].std() == pytest.approx(300**-0.5, rel=0.02)
    assert found["hidden.weight"].std() == pytest.approx(350**-0.5, rel=0.02)
    assert found["last.weight"].std() == pytest.approx((2 / 401) ** 0.5, rel=0.15)
    for name in ("adapter.bias", "hidden.bias"):
        assert 0.97 < found[name].abs().max() * 300**0.5 <= 1


def test_noise_is_of_the_given_spread(monkeypatch):
    seen = []

    def keep(rows, noise, tensors, optimisers):
        seen.append(noise)

    monkeypatch.setattr(simplenet, "step", keep)
    tokens = torch.randn(10, 64, 32, generator=torch.Generator().manual_seed(0))
    features = Features(None, {1: tokens}, grid=(8, 8), size=(64, 64))
    SimpleNet(hold_out=0, epochs=2).fit(features)
    assert [len(x) for x in seen] == [8 * 64, 2 * 64] * 2  # batches of eight images
    assert torch.cat(seen).std() == pytest.approx(0.015, rel=0.01)
    assert not torch.equal(seen[0], seen[2])
