"""SOWA gives the numbers of its authors' program, with references and without, and in training."""

import zlib
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from PIL import Image

from vlad.adapters import Adapter
from vlad.adapters.layouts import LAYOUTS, default_params, ours, tensor_shapes
from vlad.backbones.open_clip import as_backbone
from vlad.errors import AdapterError, BackboneError
from vlad.heads import sowa
from vlad.heads.facts import head_facts
from vlad.heads.sowa import SOWA
from vlad.scoring.extractor import Extractor
from vlad.scoring.panel import Panel, fitting_specs
from vlad.training.feed import Batch
from vlad.training.learner import Learner
from vlad.training.loop import make_optimiser
from vlad.training.recipe import load_recipe
from vlad.types import NATIVE

LAYERS = (6, 12, 18, 24)


def learned(case, prefix="init."):
    """Our name -> the tensors of a case under a prefix."""
    found = {}
    for name, x in case.items():
        if name.startswith(prefix):
            own = ours("sowa", name.removeprefix(prefix))
            found[own] = torch.from_numpy(x).flatten(0, LAYOUTS["sowa"].lead.get(own, 0))
    return found


def adapter_of(case, prefix, window):
    """An adapter of a case's tensors; matrices that it leaves out follow their recipe."""
    params = {"layers": list(LAYERS), "context": 12, "window": window}
    tensors = learned(case, prefix)
    for i in range(len(LAYERS)):
        if f"windows.{i}.linear.weight" not in tensors:
            key = f"sowa.visual_encoder.adapters.{i}.blocks.0.mlp.layers.0.weight"
            random = np.random.Generator(np.random.PCG64([0, zlib.crc32(key.encode())]))
            width = len(tensors[f"windows.{i}.norm_1.weight"])
            drawn = random.standard_normal((width, width), np.float32) / np.float32(width**0.5)
            rounded = torch.from_numpy(drawn.astype(np.float16).astype(np.float32))
            tensors[f"windows.{i}.linear.weight"] = rounded
    return Adapter("a", "sowa", "seeded", "none", params, tensors)


@pytest.fixture(scope="module")
def backbone(parity_backbone):
    return parity_backbone("tinyl14_336")


@pytest.fixture(scope="module")
def small(parity):
    """The same for 8×8 patches: with the first positions of the table."""
    config, state = (
        parity.weights.oc_config("tinyl14_336"),
        parity.weights.state_dict("tinyl14_336"),
    )
    config["vision_cfg"]["image_size"] = 112
    name = "visual.positional_embedding"
    model = open_clip.CLIP(**config)
    model.load_state_dict({**state, name: state[name][:65]})
    tokenizer = open_clip.SimpleTokenizer()
    return as_backbone("small", model, tokenizer, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)


def test_from_words_alone(backbone, parity, parity_scores, assert_parity):
    case = parity.case("sowa_tinyl14_336_k0")
    adapter = adapter_of(case, "learn.", 12)
    found = parity_scores(backbone, lambda: SOWA(adapter), case, image_size=336)
    assert_parity(found, case | {"score": case["text_probs"][:, 1]})


def scores_of(head, backbone, case, side, images, references):
    """Scores and maps of 8 images by one head for each of two categories, 4 images each."""
    scores, maps = [], []
    for i in range(2):
        panel = Panel(backbone, {"head": head()}, image_size=side)
        panel.fit(references[2 * i : 2 * i + 2])
        pools = {}
        for start in (4 * i, 4 * i + 2):
            batch = [panel.prepare(x) for x in images[start : start + 2]]
            panel.score(batch, "any", pools)
        for part in pools["head"].scores():
            scores.append(part.image_score)
            maps.append(part.anomaly_map)
    return torch.cat(scores).numpy(), torch.cat(maps).numpy()


def test_with_references(backbone, parity, parity_image, assert_parity):
    case = parity.case("sowa_tinyl14_336_k2")
    adapter = adapter_of(case, "learn.", 12)
    names = ("bottle", "metal_nut")
    known = [parity_image(f"{n}/train/good/{i:03}.png") for n in names for i in range(2)]
    images = [parity_image(str(path)) for path in case["image_path"]]
    found = scores_of(lambda: SOWA(adapter), backbone, case, 336, images, known)
    most = case["anomaly_map"].reshape(8, -1).max(axis=1).reshape(2, 4)
    low, high = (f(most, axis=1, keepdims=True) for f in (np.min, np.max))
    scaled = ((most - low) / (high - low)).ravel()
    assert_parity(found, case | {"score": (case["text_probs"][:, 1] + scaled) / 2})


def test_with_references_on_a_small_grid(small, parity, assert_parity):
    case = parity.case("sowa_tinyl14_112_k2")
    adapter = adapter_of(case, "init.", 4)
    stored = (case[name] for name in ("pictures_u8", "ref_pictures_u8"))
    images, known = ([Image.fromarray(x) for x in arrays] for arrays in stored)
    found = scores_of(lambda: SOWA(adapter), small, case, 112, images, known)
    assert_parity(found, case)


def test_training(small, parity, monkeypatch):
    monkeypatch.setattr(sowa, "DROPOUT", 0.0)  # as in the reference
    case = parity.case("sowa_tinyl14_112_train")
    adapter = adapter_of(case, "init.", 4)
    recipe = load_recipe("sowa")
    learner = Learner(Extractor(small, 112), adapter, list(recipe.losses))
    optimiser = make_optimiser(recipe.optimiser, learner.parameters())
    gradients, final = learned(case, "grad1."), learned(case, "final.")
    for step, index in enumerate(case["batch_index"]):
        images = [Image.fromarray(case["pictures_u8"][i]) for i in index]
        masks = case["masks_u8"][index] > 255 * recipe.mask_above
        batch = Batch(
            features=None,
            prepared=[learner.extractor.prepare(image, [learner.spec]) for image in images],
            labels=torch.from_numpy(case["labels"][index]).float(),
            masks=torch.from_numpy(masks.astype(np.float32)),
            masked=torch.ones(len(index), dtype=torch.bool),
            categories=[str(case["image_path"][i]).split("/")[0] for i in index],
        )
        losses = learner(batch)
        total = sum(recipe.losses[name] * x for name, x in losses.items())
        dice = losses["map_dice_anomalous"] + losses["map_dice_normal"]
        found = [losses["image_cross_entropy_twice"], losses["map_focal"], dice, total]
        np.testing.assert_allclose([x.item() for x in found], case["loss"][step], atol=1e-5, rtol=0)
        optimiser.zero_grad()
        total.backward()
        if step == 0:
            for name, x in gradients.items():
                mine = learner.adapter.tensors[name].grad
                np.testing.assert_allclose(mine, x, atol=3e-5, rtol=0, err_msg=name)
        optimiser.step()
    # of the four large matrices, three are left out
    assert len(gradients) == len(final) == len(adapter.tensors) - 3
    for name, x in final.items():
        mine = learner.adapter.tensors[name].detach()
        np.testing.assert_allclose(mine, x, atol=1e-3, rtol=0, err_msg=name)


def test_without_rescaling_each_image_is_judged_by_itself(small, parity):
    case = parity.case("sowa_tinyl14_112_k2")
    panel = Panel(small, {"head": SOWA(adapter_of(case, "init.", 4), rescale=False)})
    panel.fit(Image.fromarray(x) for x in case["ref_pictures_u8"][:2])
    assert not panel.transductive
    prepared = [panel.prepare(Image.fromarray(x)) for x in case["pictures_u8"][:2]]
    found = panel.score(prepared)["head"]
    np.testing.assert_allclose(found.anomaly_map, case["anomaly_map"][:2], atol=1e-4)
    most = case["anomaly_map"][:2].max(axis=(1, 2))
    expected = (case["text_probs"][:2, 1] + most) / 2
    np.testing.assert_allclose(found.image_score, expected, atol=1e-4)


def test_attention_is_dropped_in_training_alone(small_backbone, small_adapter, drawn):
    head = SOWA(small_adapter("sowa"))
    panel = Panel(small_backbone, {"head": head})
    prepared = [panel.prepare(drawn[0])]
    (features,) = panel.extractor.extract(prepared, [panel.specs["head"]])
    sides = head.sides(panel.text("head", None))
    plain = head.logits(features, sides).patches
    assert torch.equal(head.logits(features, sides).patches, plain)
    head.training = True
    assert not torch.equal(head.logits(features, sides).patches, plain)


def test_a_backbone_that_does_not_split_into_heads_is_refused(small_backbone):
    odd = replace(small_backbone.info, width=132)
    with pytest.raises(AdapterError, match=r"8 equal parts, but those of .* have 132 channels"):
        tensor_shapes("sowa", odd, default_params("sowa", odd))


def test_a_backbone_without_its_maps_is_refused(small_backbone, small_adapter):
    info = replace(small_backbone.info, capabilities=NATIVE - {"weights"})
    with pytest.raises(BackboneError, match="Head sowa needs linear maps of whole tokens in its"):
        fitting_specs({"sowa": SOWA(small_adapter("sowa"))}, info, None)


def test_it_says_what_it_needs():
    assert head_facts("sowa").needs == "an adapter; normal images optional"
