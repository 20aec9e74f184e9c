"""DFR gives the numbers of its authors' program, step by step, on the same features."""

import json

import numpy as np
import pytest
import torch

from vlad.heads import dfr
from vlad.heads.dfr import DFR, components, error, make_optimiser, regional, step
from vlad.types import Features


def ours(name):
    """decoder.4.running_mean -> 4.norm.running_mean: their halves are numbered with their ReLUs."""
    half, number, part = name.removeprefix("dfr.").split(".")
    layer = int(number) // 3 + 3 * (half == "decoder")
    return f"{layer}.{'norm.' * (int(number) % 3)}{part}"


@pytest.fixture(scope="module")
def case(parity):
    """(arrays, first tensors, {part: vectors of the places of its images})."""
    name = "dfr_tinydinov2_14"
    facts = json.loads((parity.folder / "cases" / f"{name}.json").read_text())
    first = parity.module("weights_dinov2").head(facts["shapes"], 0)
    tensors = {}
    for key, x in first.items():
        x = torch.from_numpy(x).double()
        tensors[ours(key)] = x.flatten(1) if x.dim() == 4 else x
    rows = {
        part: regional(torch.from_numpy(x).double().unbind(), (8, 8), 14)
        for part, x in parity.case("heads_tokens").items()
    }
    return parity.case(name), tensors, rows


def trained(case, dtype):
    """(tensors after the six steps of the case, losses of these)."""
    _, first, rows = case
    tensors = {name: x.to(dtype, copy=True) for name, x in first.items()}
    optimiser = make_optimiser(tensors)
    batches = [x.flatten(0, 1).to(dtype) for x in rows["train"].split(4)]
    losses = [step(batch, tensors, optimiser).item() for batch in batches * 2]
    return {name: x.detach() for name, x in tensors.items()}, losses


def test_vectors_of_the_authors(case):
    arrays, _, rows = case
    np.testing.assert_allclose(rows["test"][0, ::7], arrays["features"], atol=1e-12)


def test_width_of_the_middle(case):
    arrays, _, rows = case
    assert components(rows["train"][:10].flatten(0, 1)) == arrays["estimated_latent_dim"] == 3


def test_steps_of_the_authors(case):
    arrays, _, rows = case
    tensors, losses = trained(case, torch.float64)
    np.testing.assert_allclose(losses, arrays["losses"], atol=1e-9, rtol=0)
    compared = 0
    for name, expected in arrays.items():
        if name.startswith(("encoder", "decoder")):
            name, _, cut = name.partition("[:")
            found = tensors[ours(name)]
            found = found[: int(cut.rstrip("]"))] if cut else found
            expected = expected.reshape(found.shape)
            np.testing.assert_allclose(found, expected, atol=1e-9, rtol=0, err_msg=name)
            compared += 1
    assert compared == 6
    found = error(rows["test"].flatten(0, 1), tensors).view(7, 14, 14)
    np.testing.assert_allclose(found, arrays["energy"], atol=1e-9, rtol=0)


def test_maps_and_scores_of_the_authors(case, parity):
    arrays, _, _ = case
    head = DFR(side=14)
    head.memory_ = {k: x.float() for k, x in trained(case, torch.float64)[0].items()}
    tokens = torch.from_numpy(parity.case("heads_tokens")["test"]).float()
    patches = dict(zip((4, 8, 12), tokens, strict=True))
    found = head.score(Features(None, patches, grid=(8, 8), size=(112, 112)))
    atol = 1e-5 * arrays["energy"].std()
    np.testing.assert_allclose(found.image_score, arrays["score"], atol=atol, rtol=0)
    np.testing.assert_allclose(found.anomaly_map[0], arrays["map"], atol=atol, rtol=0)


def test_steps_by_the_modules_of_torch():
    """Four steps of the same autoencoder, as convolutions of one place."""
    generator = torch.Generator().manual_seed(0)
    first = {k: x.double() for k, x in dfr.initial(8, 2, generator).items()}
    widths, parts, names = (8, 6, 4, 2, 4, 6, 8), [], []
    for layer in range(6):
        parts.append(torch.nn.Conv2d(widths[layer], widths[layer + 1], 1))
        names.append(str(layer))
        if layer not in (2, 5):
            parts += [torch.nn.BatchNorm2d(widths[layer + 1]), torch.nn.ReLU()]
            names += [f"{layer}.norm", ""]
    model = torch.nn.Sequential(*parts).double()
    theirs = {
        f"{name}.{part}": x
        for name, module in zip(names, parts, strict=True)
        for part, x in module.state_dict(keep_vars=True).items()
        if part != "num_batches_tracked"
    }
    assert theirs.keys() == first.keys()
    for key, x in first.items():
        theirs[key].data.copy_(x.reshape(theirs[key].shape))
    adam, optimiser = torch.optim.Adam(model.parameters(), lr=1e-4), make_optimiser(first)
    for _ in range(4):
        images = torch.randn(3, 8, 4, 5, generator=generator, dtype=torch.float64)
        found = step(images.flatten(2).transpose(1, 2).flatten(0, 1), first, optimiser)
        loss = torch.nn.functional.mse_loss(model(images), images)
        adam.zero_grad()
        loss.backward()
        adam.step()
        assert found.item() == pytest.approx(loss.item(), abs=1e-12)
    for key, x in first.items():
        torch.testing.assert_close(x, theirs[key].reshape(x.shape), atol=1e-9, rtol=0)


def test_maps_end_at_the_variance_of_the_normal_features():
    tokens = torch.tensor([[[0.0, 1.0], [4.0, 1.0]], [[0.0, 1.0], [4.0, 1.0]]])
    features = Features(None, {1: tokens}, grid=(1, 2), size=(8, 8))
    head = DFR(epochs=1).fit(features)
    assert head.map_range == (0, 2)  # variances 4 and 0


def test_first_tensors():
    """Torch's start of convolutions: even draws up to one over the root of their inputs."""
    found = dfr.initial(100, 10, torch.Generator().manual_seed(0))
    widths = [len(found[f"{layer}.weight"]) for layer in range(6)]
    assert widths == [60, 20, 10, 20, 60, 100]
    for layer, inputs in enumerate((100, 60, 20, 10, 20, 60)):
        assert 0.95 < found[f"{layer}.weight"].abs().max() * inputs**0.5 <= 1


def test_four_images_are_a_step_and_ten_set_the_middle(monkeypatch):
    seen, tokens = [], torch.randn(12, 6, 4, generator=torch.Generator().manual_seed(0))
    tokens[10:] *= 100  # that of the others has no say
    monkeypatch.setattr(dfr, "step", lambda batch, *rest: seen.append(len(batch)))
    head = DFR(hold_out=0, epochs=1).fit(Features(None, {1: tokens}, grid=(2, 3), size=(8, 8)))
    assert seen == [4 * 6] * 3
    assert len(head.memory_["2.bias"]) == dfr.components(tokens[:10].flatten(0, 1))


def test_components_of_few_places():
    rows = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.0, 0.0]))[:4]
    centred = np.linalg.svd(rows - rows.mean(dim=0), compute_uv=False) ** 2
    share = centred.cumsum() / centred.sum()
    expected = int(np.argmax(share > 0.9)) + 1
    assert dfr.components(rows) == expected == 2
