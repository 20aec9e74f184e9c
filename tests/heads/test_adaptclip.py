"""AdaptCLIP gives the numbers of its authors' program, without and with normal images."""

import numpy as np
import pytest
import torch
from PIL import Image

from vlad.adapters import Adapter
from vlad.adapters.layouts import default_params, ours, tensor_shapes
from vlad.heads.adaptclip import AdaptCLIP
from vlad.scoring.extractor import Extractor
from vlad.scoring.panel import Panel
from vlad.training.feed import Batch
from vlad.training.learner import Learner
from vlad.training.loop import make_optimiser
from vlad.training.recipe import load_recipe
from vlad.types import BackboneInfo, Stream

# the case keeps the paths of the test images only
REFERENCES = [f"{name}/train/good/00{i}.png" for name in ("bottle", "metal_nut") for i in range(2)]


def rename(name):
    """Names in the case, "learn.visual.…", -> ours."""
    return ours("adaptclip", name.partition(".")[2].partition(".")[2])


@pytest.fixture(scope="module")
def backbone(parity_backbone):
    return parity_backbone("tinyl14_336")


@pytest.fixture(scope="module")
def cases(parity):
    """Number of normal images -> reference outputs."""
    found = {k: parity.case(f"adaptclip_tinyl14_336_k{k}") for k in (0, 2)}
    for case in found.values():
        for side in ("pos", "neg"):
            case[f"learn.textual.ctx_{side}"] = case[f"learn.textual.ctx_{side}"][0, 0]
    found[2]["ref_path"] = np.array(REFERENCES)
    return found


@pytest.fixture(scope="module")
def adapter(cases, parity_adapter):
    return parity_adapter("adaptclip", (6, 12, 18, 24), rename, cases[0])


@pytest.mark.parametrize("k", [0, 2])
def test_maps_and_scores(k, backbone, cases, adapter, parity_scores, assert_parity):
    found = parity_scores(backbone, lambda: AdaptCLIP(adapter), cases[k])
    assert_parity(found, cases[k])


def test_fixed_and_learned_words(backbone, cases, adapter):
    panel = Panel(backbone, {"head": AdaptCLIP(adapter)}, image_size=238)
    text = panel.text("head", "bottle")
    fixed = torch.stack([text.normal.mean(dim=0), text.anomalous.mean(dim=0)])
    np.testing.assert_allclose(fixed, cases[0]["static_text"], atol=1e-4)
    learned = torch.cat([text.learned.normal, text.learned.anomalous])
    np.testing.assert_allclose(learned, cases[0]["learned_text"], atol=1e-4)
    other = panel.text("head", "metal nut")
    torch.testing.assert_close(other.normal, text.normal)
    torch.testing.assert_close(other.learned.normal, text.learned.normal)


def test_training(backbone, parity):
    case = parity.case("adaptclip_tinyl14_336_train")
    for side in ("pos", "neg"):
        for when in ("init", "final", "grad1"):
            case[f"{when}.textual.ctx_{side}"] = case[f"{when}.textual.ctx_{side}"][0, 0]

    def of(when):  # our name -> array
        names = [name for name in case if name.startswith(when) and rename(name)]
        return {rename(name): case[name] for name in names}

    tensors = {name: torch.from_numpy(x) for name, x in of("init.").items()}
    params = {"layers": [6, 12, 18, 24], "context": 12, "decoder": 16}
    adapter = Adapter("a", "adaptclip", "seeded", "none", params, tensors)
    recipe = load_recipe("adaptclip")
    learner = Learner(Extractor(backbone, 112), adapter, list(recipe.losses))
    optimiser = make_optimiser(recipe.optimiser, learner.parameters())

    def features(images):
        prepared = [learner.extractor.prepare(Image.fromarray(x), [learner.spec]) for x in images]
        return learner.extractor.extract(prepared, [learner.spec])[0]

    for step, index in enumerate(case["batch_index"]):
        batch = Batch(
            features=features(case["pictures_u8"][index]),
            prepared=[],
            labels=torch.from_numpy(case["labels"][index]).float(),
            masks=torch.from_numpy((case["masks_u8"][index] > 127).astype(np.float32)),
            masked=torch.ones(len(index), dtype=torch.bool),
            categories=["object"] * len(index),
            normals=features(case["prompt_pictures_u8"][case["prompt_index"][step]]),
        )
        losses = learner(batch)
        expected = {
            "image_cross_entropy": case["ce"][step].sum(),
            "map_focal": case["focal"][step].sum(),
            "map_dice_anomalous": case["dice"][step][0::2].sum(),
            "map_dice_normal": case["dice"][step][1::2].sum(),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(losses[name].item(), value, rtol=1e-5)
        total = sum(recipe.losses[name] * x for name, x in losses.items())
        np.testing.assert_allclose(total.item(), case["loss"][step], rtol=1e-5)
        optimiser.zero_grad()
        total.backward()
        if step == 0:
            for name, x in of("grad1.").items():
                gradient = learner.adapter.tensors[name].grad
                np.testing.assert_allclose(gradient, x, atol=3e-5, rtol=0, err_msg=name)
                # Adam makes a step of any gradient, those that are nothing but rounding included
                gradient.copy_(torch.from_numpy(x))
        optimiser.step()
    found = learner.tensors()
    for name, x in of("final.").items():
        np.testing.assert_allclose(found[name], x, atol=1e-3, rtol=0, err_msg=name)


@pytest.mark.parametrize(("depth", "first"), [(24, 6), (12, 4), (32, 8), (3, 1)])
def test_where_the_second_stream_starts(depth, first):
    info = BackboneInfo("any", depth, 8, 8, 16, 64, has_text=True, text_width=8, text_depth=2)
    params = default_params("adaptclip", info)
    tensors = {n: torch.zeros(s) for n, s in tensor_shapes("adaptclip", info, params).items()}
    head = AdaptCLIP(Adapter("a", "adaptclip", "any", "none", params, tensors))
    assert head.spec(info).stream == Stream("vv", first_block=first)


def test_an_image_that_it_knows_is_normal(small_backbone, small_adapter, drawn):
    panel = Panel(small_backbone, {"head": AdaptCLIP(small_adapter("adaptclip"))})
    panel.fit(drawn[:2])
    scores = panel.score([panel.prepare(image) for image in drawn])["head"]
    assert scores.image_score[:2].max() < 1e-3 < scores.image_score[2:].min()
    assert scores.anomaly_map[:2].max() < 1e-3
