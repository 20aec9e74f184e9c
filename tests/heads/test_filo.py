"""FiLo gives the numbers of its authors' program."""

import json
import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from vlad.adapters import Adapter
from vlad.adapters.checkpoint import read_checkpoint
from vlad.adapters.layouts import default_params, ours, tensor_shapes
from vlad.adapters.layouts import theirs as authors_name
from vlad.adapters.shapes import MMCI
from vlad.heads.filo import SIGMA, FiLo
from vlad.maths.maps import blur_close
from vlad.prompts import load_bank
from vlad.scoring.extractor import Extractor
from vlad.scoring.panel import Panel
from vlad.training.feed import Batch
from vlad.training.learner import Learner
from vlad.training.loop import make_optimiser
from vlad.training.recipe import load_recipe
from vlad.types import Box

NAME = "filo_tinyl14_336"


@pytest.fixture(scope="module")
def backbone(parity_backbone):
    return parity_backbone("tinyl14_336")


@pytest.fixture(scope="module")
def case(parity):
    return parity.case(NAME)


@pytest.fixture(scope="module")
def known_texts(parity):
    return json.loads((parity.folder / "cases" / f"{NAME}.json").read_text())["texts"]


def faults(sentences):
    """The faults that sentences name, in order."""
    found = [s.partition(" with ")[2] for s in sentences if " abnormal " in s]
    return list(dict.fromkeys(s.removesuffix(" at top left.") for s in found[::9]))


@pytest.fixture(scope="module")
def bank(known_texts, tmp_path_factory):
    """The bank with the authors' faults of two categories."""
    text = load_bank("filo").content.decode().partition("[[overrides]]")[0]
    for category, sides in known_texts.items():
        text += f"[[overrides]]\ncategories = [{json.dumps(category)}]\n"
        text += f"faults = {json.dumps(faults(sides['abnormal']))}\n"
    file = tmp_path_factory.mktemp("bank") / "authors.toml"
    file.write_text(text)
    return load_bank(file)


def seeded(name, shape, seed=0):
    """A learned tensor of the reference outputs, by the authors' name."""
    random = np.random.Generator(np.random.PCG64([seed, zlib.crc32(f"filo.{name}".encode())]))
    x = random.standard_normal(shape, dtype=np.float32)
    if len(shape) == 1:
        x = 1 + 0.1 * x if name.endswith("weight") else 0.1 * x
    else:
        x *= 0.02 if "ctx" in name else np.prod(shape[1:]) ** -0.5
    return torch.from_numpy(x.astype(np.float16).astype(np.float32))


@pytest.fixture(scope="module")
def adapter(backbone):
    params = default_params("filo", backbone.info)
    shapes = tensor_shapes("filo", backbone.info, params)
    tensors = {name: seeded(authors_name("filo", name), shape) for name, shape in shapes.items()}
    return Adapter("seeded", "filo", "seeded", "none", params, tensors)


def boxes_of(case, place):
    """The boxes of one image of the case."""
    said = [part for part in str(case["phrases"][place]).split("|") if part]
    found = []
    for (x, y, width, height), phrase in zip(case["boxes"][place], said, strict=False):
        left, top = x - width / 2, y - height / 2
        edges = (left, top, left + width, top + height)
        text, _, rest = phrase.partition("(")
        found.append(Box(tuple(map(float, edges)), float(rest.partition(")")[0]), text))
    return tuple(found)


def prepared_images(case, panel):
    return [panel.prepare(Image.fromarray(pixels)) for pixels in case["pictures_u8"]]


@pytest.fixture(scope="module")
def run(backbone, bank, adapter, case):
    def run(batch_size=4):
        panel = Panel(backbone, {"filo": FiLo(adapter)}, bank=bank, image_size=112)
        prepared = prepared_images(case, panel)
        found = []
        for start in range(0, 8, batch_size):
            part = range(start, start + batch_size)
            given = [boxes_of(case, i) for i in part]
            category = str(case["image_path"][start]).split("/")[0]
            chosen = [prepared[i] for i in part]
            found.append(panel.score(chosen, category, boxes=given)["filo"])
        return [torch.cat([getattr(x, n) for x in found]).numpy() for n in SCORES]

    return run


SCORES = ("image_score", "anomaly_map")


def test_maps_and_scores(run, case, assert_parity):
    assert_parity(run(), case)


def test_each_image_has_prompts_of_its_own(run):
    for mine, theirs in zip(run(batch_size=1), run(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_sentences(bank, known_texts):
    for category, sides in known_texts.items():
        prompts = bank.expand(category)
        assert [f"{'X ' * 12}{s}" for s in prompts.normal] == sides["normal"]
        assert [f"{'X ' * 12}{s}" for s in prompts.anomalous] == sides["abnormal"]


def test_without_boxes_all_positions_count(backbone, bank, adapter, case):
    panel = Panel(backbone, {"filo": FiLo(adapter, boxes=False)}, bank=bank, image_size=112)
    prepared = prepared_images(case, panel)[:1]
    scores = panel.score(prepared, "bottle")["filo"]
    cosine = case["nopos.text_probs"][0, 0, 1]
    smooth = blur_close(torch.from_numpy(case["nopos.map"]), SIGMA)
    np.testing.assert_allclose(scores.anomaly_map, smooth, atol=1e-4)
    np.testing.assert_allclose(scores.image_score, [(cosine + smooth.max()) / 2], atol=1e-4)


def test_maps_before_boxes(run, case):
    _, maps = run()
    for i, before in enumerate(case["anomaly_map_before_boxes"]):
        left = [box for box in boxes_of(case, i) if "glass" not in box.phrase]
        inside = np.zeros((112, 112), bool)
        for box in left:
            x0, y0, x1, y1 = (int(112 * edge) for edge in box.edges)
            inside[y0:y1, x0:x1] = True
        np.testing.assert_allclose(maps[i], np.where(inside, before, 0.7 * before), atol=1e-4)


def test_features_on_the_way(backbone, bank, adapter, case):
    panel = Panel(backbone, {"filo": FiLo(adapter)}, bank=bank, image_size=112)
    prepared = prepared_images(case, panel)
    (features,) = panel.extractor.extract(prepared, list(panel.specs.values()))
    np.testing.assert_allclose(features.image, case["cls_projected"], atol=1e-4)
    taps = [*features.patches.values(), *features.further[0].patches.values()]
    for number, tokens in zip((0, 2, 4, 6), taps, strict=True):
        np.testing.assert_allclose(tokens[:1], case[f"tap.{number}"][:, 1:], atol=2e-4)


def test_convolutions_of_all_shapes_are_summed(small_backbone, small_adapter):
    head = FiLo(small_adapter("filo"))
    head.spec(small_backbone.info)
    tensors = head.adapter_.tensors
    patches = torch.randn(2, 4 * 5, small_backbone.info.width)
    grid = patches.mT.unflatten(2, (4, 5))
    for i, found in enumerate(head._neighbours(patches, (4, 5))):
        expected = sum(
            F.conv2d(
                grid,
                tensors[f"convolutions.{name}.{i}.weight"],
                tensors[f"convolutions.{name}.{i}.bias"],
                padding="same",
            )
            for name in MMCI
        )
        torch.testing.assert_close(found, expected.flatten(2).mT, atol=1e-4, rtol=1e-4)


def test_a_bank_without_positions_is_read_whole(small_backbone, small_adapter, drawn, tmp_path):
    """Boxes then choose nothing among its sentences."""
    file = tmp_path / "mine.toml"
    file.write_text(
        'title = "a"\nsource = "b"\nlicence = "c"\ntemplates = ["a {}."]\n'
        '[states]\nnormal = ["good {}"]\nanomalous = ["bent {}", "cut {}"]\n'
    )
    heads = {str(given): FiLo(small_adapter("filo"), boxes=given) for given in (True, False)}
    panel = Panel(small_backbone, heads, bank=load_bank(file))
    found = panel.score([panel.prepare(drawn[0])], "nut")
    both = [found[name].image_score for name in ("True", "False")]
    torch.testing.assert_close(*both)


def test_a_file_of_the_authors_holds_their_backbone_too(small_backbone, tmp_path):
    info = small_backbone.info
    shapes = tensor_shapes("filo", info, default_params("filo", info))
    tensors = {name: torch.randn(shape) for name, shape in shapes.items()}
    state = {authors_name("filo", name): x for name, x in tensors.items()}
    state |= {"clip_model.visual.proj": torch.zeros(2), "text_encoder.ln_final.bias": torch.ones(1)}
    torch.save({"filo": state}, tmp_path / "authors.pth")
    found, params = read_checkpoint(tmp_path / "authors.pth", "filo", info)
    assert params["context"] == 12
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], x) for name, x in tensors.items())


def test_names_of_the_authors(parity):
    known = json.loads((parity.folder / "cases" / f"{NAME}.json").read_text())["parameters"]
    for module, names in known.items():
        for name in names:
            assert (own := ours("filo", f"{module}.{name}")), name
            assert authors_name("filo", own) == f"{module}.{name}"


def test_training(backbone, bank, adapter, parity, monkeypatch):
    """Four steps of the first phase, then four of the second from where these end."""
    case = parity.case(f"{NAME}_train")
    recipe = load_recipe("filo")
    monkeypatch.setattr("vlad.training.learner.load_bank", lambda _: bank)
    learner = Learner(Extractor(backbone, 112), adapter, [])
    first = learner.tensors()["adapter.2.weight"]
    learner.adapter.tensors["adapter.2.weight"].data.zero_()  # as which it changes nothing
    for phase, order, expected in zip(
        recipe.parts, ("order", "order_adapter"), ("loss", "loss_adapter"), strict=True
    ):
        learner.losses = list(phase.losses)
        if phase is recipe.parts[1]:
            learner.adapter.tensors["adapter.2.weight"].data.copy_(first)
        optimiser = make_optimiser(recipe.optimiser, learner.groups(phase))
        for step, index in enumerate(case[order]):
            losses = learner(one_image(learner, case, index))
            total = sum(phase.losses[name] * x for name, x in losses.items())
            optimiser.zero_grad()
            total.backward()
            np.testing.assert_allclose(total.item(), case[expected][step], atol=1e-5, rtol=1e-5)
            if phase is recipe.parts[0]:
                terms = case["terms"][step].reshape(7, 3).sum(axis=0)
                found = [losses[name].item() for name in phase.losses]
                np.testing.assert_allclose(found, terms, atol=1e-5, rtol=1e-5)
                if step == 0:
                    assert_gradients(learner, case)
            optimiser.step()
    final = learner.tensors()
    for name, x in case.items():
        if name.startswith(("final.", "adapter.final.")):
            own = ours("filo", name.replace("final.", "", 1))
            np.testing.assert_allclose(final[own], x, atol=1e-3, rtol=0, err_msg=name)


def one_image(learner, case, index):
    image = Image.fromarray(case["pictures_u8"][index])
    return Batch(
        features=None,
        prepared=[learner.extractor.prepare(image, [learner.spec])],
        labels=torch.from_numpy(case["labels"][[index]]).float(),
        masks=torch.from_numpy((case["masks_u8"][[index]] > 127).astype(np.float32)),
        masked=torch.ones(1, dtype=torch.bool),
        categories=[str(case["image_path"][index]).split("/")[0]],
    )


def assert_gradients(learner, case):
    tensors = learner.adapter.tensors
    for name, x in case.items():
        if name.startswith("grad1."):
            found = tensors[ours("filo", name.removeprefix("grad1."))].grad
            # they reach 11, of which float32 leaves 1e-6 each
            np.testing.assert_allclose(found, x, atol=3e-5, rtol=1e-5, err_msg=name)
    for name, norm in zip(case["grad1_norm.names"], case["grad1_norm"], strict=True):
        found = tensors[ours("filo", str(name))].grad.norm().item()
        np.testing.assert_allclose(found, norm, rtol=1e-4, err_msg=str(name))
