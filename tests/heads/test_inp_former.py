"""INP-Former gives the numbers of its authors' program: forward, scores, steps, from an adapter."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vlad.adapters import Adapter
from vlad.adapters.checkpoint import read_checkpoint
from vlad.adapters.layouts import default_params
from vlad.backbones import load_backbone
from vlad.errors import AdapterError, HeadError
from vlad.heads import inp_former, load_head
from vlad.heads.inp_former import INPFormer, smoothed
from vlad.heads.inp_steps import (
    COHERENCE,
    DECAY,
    distance,
    initial,
    make_optimiser,
    objective,
    step,
)
from vlad.heads.inp_tokens import joined, projection
from vlad.images.normals import ITSELF, Altered
from vlad.images.views import altered
from vlad.maths.prototypes import halves, heads_of, prototypes, rebuilt, to_prototypes
from vlad.maths.stable_adamw import StableAdamW, warm_cosine
from vlad.types import Features

DEPTHS = {"tinydinov2reg14": tuple(range(3, 11)), "tinydinov2reg14_d24": tuple(range(5, 20, 2))}


PAIRS = {
    "prototype_token": "tokens",
    "aggregation.0.": "extractor.",
    "bottleneck.0.": "bottleneck.",
    "learn_scale": "scale",
}
DATA = Path(__file__).parent.parent / "data" / "inp_former.npz"


def ours(name):
    for theirs, mine in PAIRS.items():
        name = name.replace(theirs, mine)
    return name


def theirs(name):
    for authors, mine in PAIRS.items():
        name = name.replace(mine, authors)
    return name


@pytest.fixture(scope="module")
def kept():
    """A part of the reference outputs that every clone has: every 16th place, or 8th pixel."""
    with np.load(DATA) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def folder(parity, tmp_path_factory):
    """Backbone -> its folder."""
    where = tmp_path_factory.mktemp("dino")
    module = parity.module("weights_dinov2")
    return lambda name: module.write_folder(name, 0, where / name)


@pytest.fixture(scope="module")
def features(parity, folder):
    """(backbone, images as bytes) -> features of the blocks that the head asks for."""

    def make(name, pixels):
        backbone = load_backbone(str(folder(name)), device="cpu")
        spec = load_head("inp_former").spec(backbone.info)
        assert spec.layers == DEPTHS[name]
        x = torch.from_numpy(pixels).float() / 255
        mean, std = (torch.tensor(y)[:, None, None] for y in (backbone.mean, backbone.std))
        with torch.no_grad():
            taps = backbone.forward(
                (x - mean) / std,
                taps={(None, block) for block in spec.layers},
                cls=set(),
                windows=[],
                image=False,
                activation=None,
                pos_embed=spec.pos_embed,
            )
        patches = {block: taps.patches[None, block] for block in spec.layers}
        return Features(None, patches, grid=taps.grid, size=(224, 224))

    return make


@pytest.fixture(scope="module")
def first(seeded_tensor):
    """The seeded tensors of the cases, by our names."""
    shapes = {name: x.shape for name, x in initial(192, 6, 8, torch.Generator()).items()}
    return {name: seeded_tensor(theirs(name), shape) for name, shape in shapes.items()}


def fitted(tensors):
    head = load_head("inp_former")
    head.memory_ = tensors
    return head


def test_kept_places_are_rebuilt_as_by_the_authors(kept, first):
    x, found = kept["fused"][None], kept["prototypes"][None]
    made = rebuilt(x, found, first, 2)
    for i, part in enumerate(made):
        torch.testing.assert_close(part[0], kept[f"de{i}"], atol=1e-5, rtol=0)
    far = distance(kept["en0"], made[0][0])
    torch.testing.assert_close(far, kept["distance"][0].flatten()[::16], atol=2e-6, rtol=0)
    near = to_prototypes(x, found)[0]
    torch.testing.assert_close(near, kept["zero_shot"][::16], atol=2e-6, rtol=0)


@pytest.mark.parametrize("prefix", ["", "zero_shot_"])
def test_kept_maps_and_scores(prefix, kept, monkeypatch):
    """The head makes the authors' map and score of the authors' distances."""
    far = kept["distance"].flatten(1) if not prefix else kept["zero_shot"][None]
    monkeypatch.setattr(inp_former, "prototypes", lambda *_: None)
    monkeypatch.setattr(inp_former, "rebuilt", lambda *_: [torch.zeros(1, 256, 192)] * 2)
    monkeypatch.setattr(inp_former, "distance", lambda *_: far[None])
    monkeypatch.setattr(inp_former, "to_prototypes", lambda *_: far)
    patches = dict.fromkeys(range(3, 11), torch.zeros(1, 256, 192))
    head = fitted({"tokens": torch.zeros(6, 192)})
    if prefix:
        head.adapter = head.adapter_ = Adapter("mine", "inp_former", "any", "nothing", {}, {})
    found = head.score(Features(None, patches, grid=(16, 16), size=(224, 224)))
    torch.testing.assert_close(found.image_score, kept[f"{prefix}score"], atol=1e-6, rtol=0)
    maps = smoothed(far.mean(dim=0).view(1, 16, 16), (224, 224))
    torch.testing.assert_close(maps[0, ::8, ::8], kept[f"{prefix}map"], atol=1e-6, rtol=0)


def test_kept_views(kept):
    found = torch.cat(list(altered(kept["pixels"][None], align_corners=False)))
    torch.testing.assert_close(found[:, :, ::6, ::6], kept["views"], atol=5e-6, rtol=0)


def test_kept_steps_of_the_optimiser(kept):
    def drawn(*seed):
        draw = np.random.Generator(np.random.PCG64([0, *seed]))
        return torch.from_numpy(draw.standard_normal((8, 5)))

    x = (50 * drawn(1, 0)).requires_grad_()
    optimiser = StableAdamW([x], DECAY)
    for number, expected in enumerate(kept["optimiser"], 1):
        x.grad = drawn(2, number) * (10 if number == 9 else 10 ** (-number / 2))
        optimiser.step(1e-3)
        torch.testing.assert_close(x.detach(), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", DEPTHS)
def test_distances_of_the_authors(name, parity, features, first):
    case = parity.case(f"inpformer_{name}")
    pixels = parity.case("inpformer_tinydinov2reg14")["image_u8"]
    groups, x = joined(features(name, pixels), first)
    found = prototypes(x, first)
    if "inp" in case:
        np.testing.assert_allclose(found, case["inp"][:2], atol=1e-5)
    near = to_prototypes(x, found)
    np.testing.assert_allclose(near, case["zero_shot_distance"][:2], atol=2e-6)
    far = distance(groups, torch.stack(rebuilt(x, found, first, 2), dim=1))
    np.testing.assert_allclose(far.unflatten(2, (16, 16)), case["group_distance"][:2], atol=2e-6)


def test_maps_and_scores_of_the_authors(parity, features, first):
    """Their maps have 256 pixels a side, ours the size of the input."""
    case = parity.case("inpformer_tinydinov2reg14")
    images = features("tinydinov2reg14", case["image_u8"])
    found = fitted(first).score(images)
    np.testing.assert_allclose(found.image_score, case["score"][:2], atol=1e-5)
    assert found.anomaly_map.shape == (2, 224, 224)
    groups, x = joined(images, first)
    made = torch.stack(rebuilt(x, prototypes(x, first), first, 2), dim=1)
    maps = smoothed(distance(groups, made).mean(dim=1).unflatten(1, (16, 16)), (224, 224))
    np.testing.assert_allclose(maps[0], case["map256"], atol=1e-5)
    expected = F.interpolate(maps[:, None], 224, mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(found.anomaly_map, expected)


def test_the_zero_shot_form_of_the_authors(parity, folder, features, first, tmp_path):
    """From the whole model as they save it, of which only the extractor is read."""
    case = parity.case("inpformer_tinydinov2reg14")
    state = {theirs(name): x for name, x in first.items()}
    state["encoder.norm.weight"] = torch.ones(192)
    torch.save(state, tmp_path / "model.pth")
    backbone = load_backbone(str(folder("tinydinov2reg14")), device="cpu")
    tensors, params = read_checkpoint(tmp_path / "model.pth", "inp_former", backbone.info)
    assert params == {"layers": list(range(3, 11)), "prototypes": 6}
    made = Adapter("released", "inp_former", backbone.info.name, "real_iad", params, tensors)
    head = load_head("inp_former", adapter=made)
    assert head.normals == "unused" and load_head("inp_former").normals == "needed"
    assert head.spec(backbone.info).layers == tuple(range(3, 11))
    found = head.score(features("tinydinov2reg14", case["image_u8"]))
    np.testing.assert_allclose(found.image_score, case["zero_shot_score"][:2], atol=1e-5)


@pytest.mark.parametrize(("which", "warm", "total"), [("official", 100, 1000), ("short", 2, 8)])
def test_steps_of_the_authors(which, warm, total, parity, features, first):
    """Single precision, as theirs; tensors change by 50 to 2000 times the tolerance."""
    case = parity.case("inpformer_train_tinydinov2reg14")
    groups, x = joined(features("tinydinov2reg14", case["image_u8"]), first)
    tensors = {name: y.clone() for name, y in first.items()}
    optimiser, log = make_optimiser(tensors), []
    for number in range(6):
        rate = warm_cosine(number, total, warm, 1e-3, 1e-4)
        square, near, norm = step(groups, x, tensors, optimiser, rate)
        log.append((square + COHERENCE * near, square, near, norm, rate))
    np.testing.assert_allclose(log, case[f"{which}.log"], atol=1e-5)
    tensors = {name: y.detach() for name, y in tensors.items()}
    compared = 0
    for name, expected in case.items():
        name, _, cut = ours(name.removeprefix(f"{which}.")).partition("[:")
        if name in tensors and name != "extractor.attn.q.bias":  # nearly without a true gradient
            found = tensors[name][: int(cut.rstrip("]"))] if cut else tensors[name]
            np.testing.assert_allclose(found, expected, atol=2e-6, err_msg=name)
            compared += 1
    assert compared == 7
    names = [ours(str(name)) for name in case[f"{which}.param_names"]]
    assert sorted(names) == sorted(tensors)
    norms = [tensors[name].double().norm() for name in names]
    np.testing.assert_allclose(norms, case[f"{which}.param_norm"], atol=1e-3)
    made = torch.stack(rebuilt(x, prototypes(x, tensors), tensors, 2), dim=1)
    far = distance(groups, made).unflatten(2, (16, 16))
    np.testing.assert_allclose(far, case[f"{which}.map_after"], atol=1e-5)


def test_the_first_gradient_of_the_authors(parity, features, first):
    case = parity.case("inpformer_train_tinydinov2reg14")
    groups, x = joined(features("tinydinov2reg14", case["image_u8"]), first)
    tensors = {name: y.clone().requires_grad_() for name, y in first.items()}
    square, near = objective(groups, x, tensors)
    (square + COHERENCE * near).backward()
    for name, norm in zip(case["grad0_norm_names"], case["grad0_norms"], strict=True):
        found = tensors[ours(str(name))].grad.double().norm().item()
        assert found == pytest.approx(norm, rel=1e-3, abs=1e-6), name


def test_badly_rebuilt_places_get_larger_gradients_and_the_loss_stays():
    """Twice as far from what they should be as the mean place: eight times the gradient."""
    generator = torch.Generator().manual_seed(0)
    tensors = {k: x.double() for k, x in initial(8, 2, 2, generator).items()}
    groups = torch.randn(2, 1, 5, 8, generator=generator, dtype=torch.float64)
    for x in tensors.values():
        x.requires_grad_()
    square, _ = objective(groups, groups[:, 0], tensors)
    square.backward()
    mined = tensors["decoder.1.mlp.fc2.bias"].grad.clone()
    # the same by hand, from the derivative of the plain loss
    with torch.no_grad():
        x = groups[:, 0]
        made = rebuilt(x, prototypes(x, tensors), tensors, 1)[0]
    made.requires_grad_()
    plain = distance(x.flatten(1), made.flatten(1)).mean()
    plain.backward()
    far = distance(x, made.detach())
    expected = (made.grad * (far / far.mean()).pow(3)[..., None]).sum(dim=(0, 1)) / 2
    assert square.item() == pytest.approx(plain.item())
    torch.testing.assert_close(mined, expected)


def test_first_tensors():
    found = initial(300, 6, 3, torch.Generator().manual_seed(0))
    weight = found["decoder.2.mlp.fc1.weight"]
    assert weight.std() == pytest.approx(0.00987, rel=0.01)  # a normal one of 0.01, cut at three
    assert 0.0297 < weight.abs().max() <= 0.03 + 1e-6
    assert found["tokens"].std() == pytest.approx(1, rel=0.05)
    assert sum(name.endswith("attn.scale") for name in found) == 3
    assert not found["bottleneck.fc1.bias"].any()


@pytest.mark.parametrize(("width", "heads"), [(384, 6), (1024, 16), (192, 3), (664, 8), (7, 1)])
def test_attention_heads_of_about_64_channels(width, heads):
    assert heads_of(width) == heads


def test_two_groups_of_layers():
    assert halves([1, 2, 3, 4], 2) == [[1, 2], [3, 4]]
    assert halves([1, 2, 3], 2) == [[1, 2], [3]]
    assert halves([1], 2) == [[1]]
    assert halves([1, 2, 3, 4], 1) == [[1, 2, 3, 4]]


def test_layers_of_different_widths_are_brought_to_one():
    generator = torch.Generator().manual_seed(0)
    patches = {1: torch.randn(3, 6, 16, generator=generator), 2: torch.randn(3, 6, 40)}
    images = Features(None, patches, grid=(2, 3), size=(32, 32))
    head = INPFormer(width=None, views=False, steps=2).fit(images)
    assert set(head.memory_) >= {"projection.40"} and "projection.16" not in head.memory_
    assert head.memory_["tokens"].shape == (6, 16)
    assert head.score(images).anomaly_map.isfinite().all()


def test_projections_keep_or_embed():
    generator = torch.Generator().manual_seed(0)
    for before, after in ((40, 16), (16, 40)):
        found = projection(before, after, generator)
        assert found.shape == (before, after)
        small = found.T @ found if before > after else found @ found.T
        torch.testing.assert_close(small, torch.eye(16), atol=1e-5, rtol=0)


def test_which_views_of_normal_images_it_learns():
    assert load_head("inp_former").normal_views == Altered()
    assert load_head("inp_former", views=False).normal_views == ITSELF


def test_an_extractor_does_not_fit_blocks_of_different_widths(small_backbone):
    params = default_params("inp_former", small_backbone.info)
    pyramid = replace(small_backbone.info, widths=(16, 32, 64, 128))
    made = Adapter("mine", "inp_former", "small", "nothing", params, {})
    with pytest.raises(AdapterError, match="differ in width"):
        load_head("inp_former", adapter=made).spec(pyramid)


def test_an_extractor_takes_no_normal_images(small_adapter):
    head = load_head("inp_former", adapter=small_adapter("inp_former"))
    with pytest.raises(HeadError, match="learns nothing from images"):
        head.fit(Features(None, {1: torch.ones(1, 4, 128)}, grid=(2, 2), size=(32, 32)))
