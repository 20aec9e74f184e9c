"""Learning changes nothing but the adapter, and saving memory changes nothing at all."""

from dataclasses import replace

import pytest
import torch

from vlad.adapters.layouts import layout_of
from vlad.backbones import load_backbone
from vlad.heads import HEADS, head_maker, load_head
from vlad.heads.head import Trained
from vlad.scoring.extractor import Extractor
from vlad.scoring.panel import Panel
from vlad.training.learner import Learner, initial_tensors
from vlad.training.recipe import load_recipe

LEARNED = [
    name
    for name in HEADS
    if isinstance(head_maker(name)(), Trained) and not layout_of(name).from_text
]


def gradients(learner, recipe, batch):
    learner.zero_grad()
    sum(recipe.losses[name] * x for name, x in learner(batch).items()).backward()
    return {n: x.grad for n, x in learner.adapter.tensors.items() if x.grad is not None}


@pytest.mark.parametrize("head", LEARNED)
def test_only_the_adapter_gets_gradients(make_learner, part_of, head):
    learner, recipe = make_learner(head)
    batch = part_of([0, 2])
    if learner.head.paired:
        (normals,) = learner.extractor.extract(part_of([1, 1]).prepared, [learner.spec])
        batch = replace(batch, normals=normals)
    found = gradients(learner, recipe, batch)
    # AdaCLIP's authors learn a tensor that stands nowhere; the statistics of norms are counted
    counted = {n for n in learner.adapter.tensors if "running_" in n}
    assert set(found) == set(learner.adapter.tensors) - {"static.text.0"} - counted
    assert all(x.grad is None for x in learner.backbone.model.parameters())
    assert [n for n, _ in learner.named_parameters()] == [
        f"learned.{i}" for i in range(len(learner.names))
    ]


@pytest.mark.parametrize("head", ["anomalyclip", "adaclip"])
def test_gradient_checkpointing_gives_the_same_gradients(small_file, make_learner, part_of, head):
    learner, recipe = make_learner(head)
    batch = part_of([0, 2])
    expected = gradients(learner, recipe, batch)
    backbone = load_backbone(str(small_file), device="cpu")
    backbone.recompute()
    kept = []

    def keep(x):
        kept.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        other = Learner(Extractor(backbone, 64), learner.adapter, learner.losses)
        found = gradients(other, recipe, batch)
        recomputed = sum(kept)
        kept.clear()
        gradients(learner, recipe, batch)
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        torch.testing.assert_close(found[name], x, rtol=1e-4, atol=1e-8)
    assert recomputed < sum(kept) / 2


@pytest.mark.parametrize("head", LEARNED)
def test_scoring_keeps_nothing_for_gradients(small_backbone, make_learner, drawn, head):
    """Not even with tensors that are being learned."""
    learner, _ = make_learner(head)
    panel = Panel(small_backbone, {head: load_head(head, adapter=learner.adapter)})
    if learner.head.normals == "needed":
        panel.fit(drawn[1:2])
    pools = {}
    found = panel.score([panel.prepare(drawn[0])], "nut", pools)
    scores = found[head] if head in found else next(pools[head].scores())
    assert not scores.image_score.requires_grad
    assert not scores.anomaly_map.requires_grad


def test_initial_tensors_follow_from_the_seed(small_backbone):
    params = load_recipe("adaclip").params_on(small_backbone.info)
    one, two, other = (
        initial_tensors("adaclip", Extractor(small_backbone), params, seed) for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["static.text.1"], other["static.text.1"])
    assert 0.015 < one["static.image.0"].std() < 0.025
    assert one["projections.0.weight"].abs().max() <= 128**-0.5


def test_initial_tensors_of_convolutions_and_norms_are_those_of_torch(small_backbone):
    params = load_recipe("adaptclip").params_on(small_backbone.info)
    found = initial_tensors("adaptclip", Extractor(small_backbone), params, 0)
    bound = (32 * 9) ** -0.5  # of the inputs of each value
    assert 0.9 * bound < found["decoder.0.weight"].abs().max() < bound
    bound = (128 * 4) ** -0.5
    for part in ("weight", "bias"):
        assert 0.9 * bound < found[f"decoder.3.{part}"].abs().max() < bound
    for part, value in {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1}.items():
        assert (found[f"norms.0.{part}"] == value).all()
    assert 0.015 < found["context.normal"].std() < 0.025
