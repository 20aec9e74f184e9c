"""AnoVL gives the numbers of its authors' program: TFA, and TTA with that program's draws."""

from functools import partial

import numpy as np
import pytest
import torch

from vlad.heads.anovl import (
    LEARNING_RATE,
    STEPS,
    AnoVL,
    adapt,
    fit_adapter,
    gradients,
    probability,
    smooth_map,
)
from vlad.maths.logits import plain_mean_vectors
from vlad.scoring.panel import Panel
from vlad.types import TextFeatures

CATEGORIES = ("bottle", "metal_nut")


@pytest.fixture(scope="module")
def backbone(parity_backbone):
    return parity_backbone("tinyb16_240")


def test_maps_and_scores(backbone, parity, parity_scores, assert_parity):
    case = parity.case("anovl_tinyb16_240_tfa")
    assert_parity(parity_scores(backbone, AnoVL, case, image_size=240), case)


def test_text_vectors(backbone, parity):
    case = parity.case("anovl_tinyb16_240_tfa")
    panel = Panel(backbone, {"head": AnoVL()})
    for category in CATEGORIES:
        found = plain_mean_vectors(panel.text("head", category)).T
        np.testing.assert_allclose(found, case[f"text_mean.{category}"], atol=1e-5)


def test_a_side_is_the_mean_of_embeddings_of_any_length():
    """Long embeddings weigh more; only the mean is brought to unit length."""
    normal, anomalous = torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 2.0]])
    found = plain_mean_vectors(TextFeatures(normal, anomalous))
    expected = torch.tensor([[3.0, 1.0], [0.0, 10**0.5]]) / 10**0.5
    torch.testing.assert_close(found, expected)


def test_the_adapter_of_the_authors(backbone, parity, parity_image):
    """Their start, noise and optimiser, which goes on from image to image of a category."""
    case = parity.case("anovl_tinyb16_240_tta")
    panel = Panel(backbone, {"head": AnoVL(views=False)}, image_size=240)
    prepared = [panel.prepare(parity_image(str(path))) for path in case["image_path"]]
    (features,) = panel.extractor.extract(prepared, list(panel.specs.values()))
    noise = torch.from_numpy(case["noise"]).reshape(8, STEPS, 225, 64)
    for number, category in enumerate(CATEGORIES):
        text = torch.from_numpy(case[f"text_all.{category}"])
        sentences = torch.cat([text[..., 0], text[..., 1]])
        sides = torch.from_numpy(case[f"text_mean.{category}"]).T
        weight, bias = torch.zeros(1, 924, 64), torch.zeros(1, 924)
        learned = [weight.requires_grad_(), bias.requires_grad_()]
        optimiser = torch.optim.AdamW(learned, lr=LEARNING_RATE)
        for i in range(4 * number, 4 * number + 4):
            tokens = features.patches[12][i : i + 1]
            with torch.no_grad():
                for x, part in zip(learned, "wb", strict=True):
                    x.copy_(torch.from_numpy(case[f"adapter0.{i}.{part}"])[None])
            fit_adapter(tokens, *learned, sentences, sides, noise[i], optimiser)
            for x, part in zip(learned, "wb", strict=True):
                expected = case[f"adapterT.{i}.{part}"]
                np.testing.assert_allclose(x[0].detach(), expected, atol=1e-4, rtol=0)
            with torch.no_grad():
                found = probability(adapt(tokens, *learned, sentences), sides)
            found = smooth_map(found.unflatten(1, (15, 15)), (240, 240))
            np.testing.assert_allclose(found[0], case["anomaly_map"][i], atol=1e-4, rtol=0)


def test_the_adapter_in_plain_steps():
    """Two images at once, each as it would be alone, from the formulas as they are written."""
    generator = torch.Generator().manual_seed(0)
    draw = partial(torch.randn, generator=generator)
    tokens, noise, weight, bias = draw(2, 9, 8), 0.1 * draw(3, 9, 8), draw(2, 6, 8), draw(2, 6)
    sentences, sides = (torch.nn.functional.normalize(draw(n, 8), dim=-1) for n in (6, 2))
    learned = [weight.clone().requires_grad_(), bias.clone().requires_grad_()]
    optimiser = torch.optim.AdamW(learned, lr=LEARNING_RATE)
    fit_adapter(tokens, *learned, sentences, sides, noise, optimiser)
    for i in range(2):
        w, b = weight[i].clone().requires_grad_(), bias[i].clone().requires_grad_()
        alone = torch.optim.AdamW([w, b], lr=LEARNING_RATE)
        for step in noise:
            p = []
            for x in (tokens[i], tokens[i] + step):
                x = x / 2 + torch.tanh(x / x.norm(dim=1, keepdim=True) @ w.T + b) @ sentences / 2
                p.append((x / x.norm(dim=1, keepdim=True) @ sides.T).softmax(dim=1))
            clean, noisy = p
            loss = -(clean * clean.log()).sum(dim=1).mean()
            loss = loss - (noisy[:, 1].log() + clean[:, 0].log()).mean() / 2
            alone.zero_grad()
            loss.backward()
            alone.step()
        torch.testing.assert_close(learned[0][i], w, atol=1e-5, rtol=0)
        torch.testing.assert_close(learned[1][i], b, atol=1e-5, rtol=0)
    assert (learned[0] - weight).abs().max() > 1e-3


def test_gradients_of_the_adapter_are_those_of_its_loss():
    """Against automatic differentiation of the formulas; Adam's steps would hide a wrong scale."""
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(0))
    tokens, noise, weight, bias = draw(2, 9, 8), 0.3 * draw(2, 9, 8), draw(2, 6, 8), draw(2, 6)
    sentences, sides = (torch.nn.functional.normalize(draw(n, 8), dim=-1) for n in (6, 2))
    p = []
    for x in (tokens, tokens + noise):
        x = adapt(x, weight.requires_grad_(), bias.requires_grad_(), sentences)
        p.append((x / x.norm(dim=2, keepdim=True) @ sides.T).softmax(dim=2))
    clean, noisy = p
    loss = -(clean * clean.log()).sum(dim=2).mean(dim=1)
    loss = loss - (noisy[..., 1].log() + clean[..., 0].log()).mean(dim=1) / 2
    expected = torch.autograd.grad(loss.sum(), [weight, bias])
    both = torch.cat([tokens, tokens + noise], dim=1)
    units = torch.nn.functional.normalize(both, dim=-1)
    found = gradients(both, units, weight, bias, sentences, sides)
    for x, y in zip(found, expected, strict=True):
        assert y.abs().max() > 1e-3
        torch.testing.assert_close(x, y, atol=1e-8, rtol=1e-4)


def maps_of(backbone, images, **params):
    panel = Panel(backbone, {"head": AnoVL(**params)})
    prepared = [panel.prepare(image) for image in images]
    return panel.score(prepared, "nut")["head"].anomaly_map


def test_an_adapted_map_depends_on_its_image_and_the_seed_alone(small_backbone, drawn):
    params = {"tta": True, "views": False}
    maps = maps_of(small_backbone, drawn[:3], **params)
    one = maps_of(small_backbone, drawn[1:2], **params)
    turned = maps_of(small_backbone, drawn[2::-1], **params)
    torch.testing.assert_close(maps[1:2], one, atol=2e-5, rtol=0)
    torch.testing.assert_close(maps.flip(0), turned, atol=2e-5, rtol=0)
    plain = maps_of(small_backbone, drawn[:3], views=False)
    other = maps_of(small_backbone, drawn[:3], seed=1, **params)
    assert (maps - plain).abs().max() > 1e-3
    assert (maps - other).abs().max() > 1e-5


def test_what_the_adapter_is_fitted_with(small_backbone, drawn, monkeypatch):
    """Weights uniform up to 1/√D, the authors' noise and rate, and sentences of unit length."""
    from vlad.heads import anovl

    seen = {}

    def keep(tokens, weight, bias, sentences, sides, noise, optimiser):
        (group,) = optimiser.param_groups
        seen.update(weight=weight.detach().clone(), bias=bias.detach(), noise=noise)
        seen.update(sentences=sentences, rate=group["lr"], decay=group["weight_decay"])

    monkeypatch.setattr(anovl, "fit_adapter", keep)
    maps_of(small_backbone, drawn[:2], tta=True, views=False)
    assert seen["weight"].shape == (2, 924, 32)
    for x in (seen["weight"], seen["bias"]):
        assert 0.98 < x.abs().max() * 32**0.5 <= 1
        assert x.std() * 32**0.5 == pytest.approx(3**-0.5, rel=0.05)
    assert len(seen["noise"]) == 5
    assert seen["noise"].std() == pytest.approx(0.055, rel=0.05)
    assert (seen["rate"], seen["decay"]) == (1e-3, 0.01)
    torch.testing.assert_close(seen["sentences"].norm(dim=1), torch.ones(924))


def test_without_views_the_score_is_that_of_the_image(small_backbone, drawn):
    heads = {"all": AnoVL(), "one": AnoVL(views=False)}
    panel = Panel(small_backbone, heads)
    assert [head.approximate for head in heads.values()] == [False, True]
    prepared = [panel.prepare(drawn[0])]
    every, alone = panel.extractor.extract(prepared, list(panel.specs.values()))
    assert every.views.shape == (1, 22, 32)
    sides = plain_mean_vectors(panel.text("one", "nut"))
    found = panel.score(prepared, "nut")
    assert found["one"].image_score == probability(alone.image[:, None], sides)[:, 0]
    assert found["all"].image_score != found["one"].image_score
    torch.testing.assert_close(found["all"].anomaly_map, found["one"].anomaly_map)
