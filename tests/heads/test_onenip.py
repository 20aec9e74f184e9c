"""OneNIP gives the numbers of its authors' program on the same features, also in training."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from vlad.errors import HeadError
from vlad.heads import load_head, onenip
from vlad.heads.onenip import OneNIP, dropped
from vlad.heads.onenip_steps import (
    DICE,
    RATE,
    dice,
    initial,
    make_optimiser,
    objective,
    step,
    with_defects,
)
from vlad.maths.maps import upsample
from vlad.maths.one_prompt import neighbours, positions, rebuilt, refined
from vlad.types import Features

GRID = (8, 8)
NAMES = (  # ours -> the authors'
    (r"^(row)$", r"pos_embed.\1_embed.weight"),
    (r"^column$", "pos_embed.col_embed.weight"),
    (r"attention", "self_attn"),
    (r"to_image", "cross_attn_prompt_to_image"),
    (r"to_prompt", "cross_attn_image_to_prompt"),
    (r"^(decoder\.\d)\.linear", r"\1.mlp.lin"),
    (r"^(encoder|decoder)\.", r"transformer.\1.layers."),
    (r"^last", "transformer.decoder.final_attn_token_to_image"),
    (r"^norm", "transformer.decoder.norm"),
    (r"\.in\.", ".in_proj_"),
    (r"\.out\.", ".out_proj."),
    (r"^(input|output)", r"\1_proj"),
    (r"^refiner\.([0-3])", r"seghead.upconv1.\1"),
    (r"^refiner\.([4-7])", lambda found: f"seghead.upconv2.{int(found[1]) - 4}"),
    (r"^refiner\.8", "seghead.predictor"),
)
SHAPES = {name: x.shape for name, x in initial(192, GRID, torch.Generator()).items()}


def theirs(name):
    for mine, authors in NAMES:
        name = re.sub(mine, authors, name)
    return name


@pytest.fixture(scope="module")
def first(seeded_tensor):
    """The seeded tensors of the case, by our names."""
    made = {name: seeded_tensor(f"onenip.{theirs(name)}", shape) for name, shape in SHAPES.items()}
    return {name: x.double() for name, x in made.items()}


@pytest.fixture(scope="module")
def case(parity, first):
    """(arrays, first tensors, {part: tokens of block 8 of its images})."""
    tokens = {k: torch.from_numpy(x[1]).double() for k, x in parity.case("heads_tokens").items()}
    return parity.case("onenip_tinydinov2_14"), first, tokens


def test_a_kept_image_is_rebuilt_as_by_the_authors(first):
    """Without the reference outputs: one test image and its prompt."""
    with np.load(Path(__file__).parent.parent / "data" / "onenip.npz") as kept:
        query, prompt = (torch.from_numpy(kept[name]).double() for name in ("query", "prompt"))
        made = rebuilt(query[None], prompt[None], first, GRID)
        found = made[0].T.unflatten(1, GRID)[::8]
        np.testing.assert_allclose(found, kept["rebuilt"], atol=1e-11, rtol=0)
        head = OneNIP()
        for balance, expected in ((0, kept["sizes"]), (2, kept["sizes"] + 2 * kept["found"])):
            one, weight = torch.ones(1), torch.tensor([float(balance)])
            head.memory_ = {**first, "prompt": prompt, "scale": one, "balance": weight}
            scores = head.score(Features(None, {8: query[None]}, grid=GRID, size=(128, 128)))
            maps = scores.anomaly_map[0, ::3, ::3]
            np.testing.assert_allclose(maps, expected / 2, rtol=1e-5)


def test_tensors_are_those_of_the_authors(parity):
    facts = json.loads((parity.folder / "cases" / "onenip_tinydinov2_14.json").read_text())
    assert {theirs(name): list(shape) for name, shape in SHAPES.items()} == facts["shapes"]


def test_rebuilt_tokens_of_the_authors(case):
    arrays, tensors, tokens = case
    prompt = tokens["train"][:1].expand(7, -1, -1)
    found = rebuilt(tokens["test"], prompt, tensors, GRID)
    found = found[0].T.unflatten(1, GRID)
    np.testing.assert_allclose(found, arrays["rec_feat[0]"], atol=1e-11, rtol=0)


def test_maps_and_scores_of_the_authors(case):
    """They weigh the refiner by the middle of the range of all their test images."""
    arrays, tensors, tokens = case
    prompt = tokens["train"][0]
    difference = rebuilt(tokens["test"], prompt.expand(7, -1, -1), tensors, GRID) - tokens["test"]
    sizes = difference.norm(dim=-1).unflatten(1, GRID)
    sizes = upsample(sizes, (128, 128), align_corners=True)
    head = OneNIP()
    one = torch.ones(1, dtype=torch.float64)
    balance = (sizes.max() + sizes.min())[None] / 2
    head.memory_ = {**tensors, "prompt": prompt, "scale": one, "balance": balance}
    found = head.score(Features(None, {8: tokens["test"]}, grid=GRID, size=(128, 128)))
    np.testing.assert_allclose(found.anomaly_map[:, ::3, ::3], arrays["fused[::3]"], rtol=1e-6)
    np.testing.assert_allclose(found.image_score, arrays["score"], rtol=1e-6)


def test_what_the_refiner_of_the_authors_finds(case):
    arrays, tensors, tokens = case
    prompt = tokens["train"][:1].expand(7, -1, -1)
    difference = rebuilt(tokens["test"], prompt, tensors, GRID) - tokens["test"]
    found = refined(difference.abs(), tensors, GRID)
    found = torch.nn.functional.interpolate(
        found, (128, 128), mode="bilinear", align_corners=True
    ).sigmoid()
    np.testing.assert_allclose(found[0, 0, ::3, ::3], arrays["ref_pred[::3]"], atol=1e-12, rtol=0)


def test_steps_of_the_authors(case):
    arrays, first, tokens = case
    tensors = {name: x.clone() for name, x in first.items()}
    optimiser = make_optimiser(tensors)
    clean, prompt, other = tokens["train"].split(4)[:3]
    drawn = clean.unflatten(1, GRID).clone()
    drawn[:, 2:5, 3:6] = other.unflatten(1, GRID)[:, 2:5, 3:6]
    masks = torch.zeros(4, 128, 128, dtype=torch.float64)
    masks[:, 32:80, 48:96] = 1
    for number, (loss, *expected) in enumerate(arrays["train.log"], 1):
        draw = np.random.Generator(np.random.PCG64([0, 4712, number]))
        noise = torch.from_numpy(draw.standard_normal((64, 12, 192), np.float32)).transpose(0, 1)
        both = objective(
            clean, drawn.flatten(1, 2), prompt, masks, noise, tensors, GRID, training=True
        )
        found = step(optimiser, *both)
        np.testing.assert_allclose(found, expected, atol=1e-9, rtol=0)
        assert found[0] + DICE * found[1] == pytest.approx(loss, abs=1e-9)
    by_theirs = {theirs(name): x for name, x in tensors.items()}
    for name, expected in arrays.items():
        if name.startswith("train.") and name != "train.log":
            name, _, cut = name.removeprefix("train.").partition("[:")
            found = by_theirs[name].detach()
            found = found[: int(cut.rstrip("]"))] if cut else found
            np.testing.assert_allclose(found, expected, atol=1e-9, rtol=0, err_msg=name)


def test_dice_counts_the_overlap_once():
    found, true = torch.tensor([[1.0, 1.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    assert dice(found, true).item() == pytest.approx(1 - (1 + 1) / (2 + 1 + 1))


def test_a_place_does_not_see_its_neighbours():
    hidden = neighbours((9, 8)).unflatten(0, (9, 8)).unflatten(2, (9, 8))
    assert hidden[4, 4].sum() == 7 * 7
    assert hidden[4, 4, 1:8, 1:8].all()
    assert hidden[0, 0].sum() == 4 * 4
    assert not neighbours((8, 8)).all(dim=1).any()


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7])
def test_on_a_small_grid_every_place_sees_something(side):
    assert not neighbours((side, side)).all(dim=1).any()


def test_positions_are_those_of_the_column_and_the_row():
    tensors = {"column": torch.tensor([[1.0], [2.0], [3.0]]), "row": torch.tensor([[10.0], [20.0]])}
    expected = [[1, 10], [2, 10], [3, 10], [1, 20], [2, 20], [3, 20]]
    assert positions(tensors).tolist() == expected


def test_drawn_defects_are_rectangles_and_the_rest_stays():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(40, 100, 3, generator=generator)
    drawn, masks = with_defects(rows, (10, 10), generator)
    changed = (drawn != rows).any(dim=-1).unflatten(1, (10, 10))
    assert not (changed & (masks == 0)).any()
    noisy = 0
    for mask, found in zip(masks, drawn, strict=True):
        sides = [mask.amax(dim=axis).sum().item() for axis in (1, 0)]
        assert mask.sum() == sides[0] * sides[1]  # a rectangle
        assert min(sides) >= 1 and max(sides) <= 4
        inside = found[mask.flatten() > 0]
        noisy += not any((rows.flatten(0, 1) == x).all(dim=1).any() for x in inside)
    assert 8 < noisy < 32  # half of them are no tokens of any image


def test_dropped_values():
    found = dropped(torch.ones(10_000), torch.Generator().manual_seed(0))
    assert (found == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert found.mean().item() == pytest.approx(1, abs=0.02)


def features(count=3, grid=(3, 4), size=1.0):
    generator = torch.Generator().manual_seed(0)
    tokens = size * torch.randn(count, grid[0] * grid[1], 16, generator=generator)
    return Features(None, {1: tokens}, grid=grid, size=(24, 32))


def test_images_of_another_grid_are_refused():
    head = load_head("onenip", steps=1).fit(features())
    with pytest.raises(HeadError, match="3×4 places of 16 channels, but the image has 4×3 of 16"):
        head.score(features(grid=(4, 3)))


def test_the_size_of_features_does_not_matter():
    """Maps are in units of the spread of the normal images."""
    large, small = (load_head("onenip", steps=2).fit(features(size=x)) for x in (100.0, 0.01))
    one, two = large.score(features(size=100.0)), small.score(features(size=0.01))
    torch.testing.assert_close(one.anomaly_map, two.anomaly_map, atol=1e-4, rtol=1e-4)
    assert large.map_range[1] == pytest.approx(small.map_range[1], rel=0.02)


def test_the_learning_rate_falls_at_the_end(monkeypatch):
    rates = []

    def keep(optimiser, *losses):
        rates.append(optimiser.param_groups[0]["lr"])

    monkeypatch.setattr(onenip, "step", keep)
    load_head("onenip", steps=10).fit(features())
    assert rates == [RATE] * 8 + [RATE / 10] * 2
