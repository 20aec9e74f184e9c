"""What holds for every head: batch, order, company and precision do not change results.

Heads are those that are registered, so that a new one is held to all of this.
"""

from inspect import signature

import pytest
import torch
from small_maps import with_maps

from vlad.backbones import load_backbone
from vlad.errors import HeadError, VladError
from vlad.heads import head_maker, head_names, load_head
from vlad.heads.dfr import DFR
from vlad.heads.inp_former import INPFormer
from vlad.heads.onenip import OneNIP
from vlad.heads.simplenet import SimpleNet
from vlad.prompts import load_bank
from vlad.scoring.panel import Panel

NAMES = head_names()
NORMALS = {name: head_maker(name)().normals for name in NAMES}
LEARNED = [name for name in NAMES if "adapter" in signature(head_maker(name)).parameters]
READING = [name for name in NAMES if head_maker(name)().bank]
# their scale of maps is no bound
DISTANCES = {
    *("memory", "visual_words", "anomalydino", "patchcore", "mvg", "padim", "subspace", "dfr"),
    "onenip",
}
# fewer steps than the default, which takes minutes in all
QUICK = {"inp_former": {"steps": 20}, "onenip": {"steps": 4}}
FITTED = (SimpleNet, DFR, INPFormer, OneNIP)
# (name, whether it is shown normal images)
CASES = [
    *((name, False) for name in NAMES if NORMALS[name] != "needed"),
    *((name, True) for name in NAMES if NORMALS[name] != "unused"),
]


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    """A model asked again answers again, instead of from the cache."""
    monkeypatch.setattr("vlad.vlm.cache.Answers.get", lambda *_: None)


@pytest.fixture(scope="module")
def adapters(small_adapter, small_vlm):
    return {name: small_adapter(name) for name in LEARNED} | {"vlm": small_vlm}


def learned(name, adapters):
    """The adapter of a head that has one, unless it would take the place of normal images.

    That of `vlm` is the model that it asks.
    """
    if name == "vlm":
        return {"model": adapters[name]}
    if name not in adapters:
        return {}
    needed = getattr(head_maker(name)(), "needs_adapter", False)
    instead = NORMALS[name] == "needed" and not needed
    return {} if instead else {"adapter": adapters[name]}


def make(backbone, adapters, names, references=(), **options):
    heads = {
        name: load_head(name, **QUICK.get(name, {}), **learned(name, adapters)) for name in names
    }
    panel = Panel(backbone, heads, **options)
    return panel.fit(references) if references else panel


def score(panel, images, batch_size=6):
    """name -> (scores, maps) of all images."""
    prepared = [panel.prepare(image) for image in images]
    return score_prepared(panel, prepared, batch_size)


def score_prepared(panel, prepared, batch_size=6):
    parts, pools = {name: [] for name in panel.heads}, {}
    for start in range(0, len(prepared), batch_size):
        batch = prepared[start : start + batch_size]
        for name, found in panel.score(batch, "nut", pools).items():
            parts[name].append(found)
    for name, pool in pools.items():
        parts[name] += pool.scores()
    return {
        name: (
            torch.cat([part.image_score for part in found]),
            torch.cat([part.anomaly_map for part in found]),
        )
        for name, found in parts.items()
    }


def assert_same(found, expected, atol=2e-5):
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=atol, rtol=1e-5)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}{'+' * case[1]}")
def remake(request, adapters, drawn):
    """(name, maker of a panel with that head on a backbone)."""
    name, fitted = request.param
    references = drawn[:2] if fitted else ()
    return name, lambda backbone, **options: make(backbone, adapters, [name], references, **options)


@pytest.fixture
def case(remake, small_backbone, drawn):
    """(name, panel with that head, scores of all images in one batch)."""
    name, panel_on = remake
    panel = panel_on(small_backbone)
    return name, panel, score(panel, drawn)[name]


def test_shapes_and_bounds(case):
    name, panel, (scores, maps) = case
    low, high = panel.heads[name].map_range
    assert scores.shape == (6,)
    assert maps.shape == (6, 64, 64)
    assert low <= maps.min() and low < high
    if name not in DISTANCES:
        assert maps.max() <= high
    assert scores.std() > 0 and (maps.std() > 0) == panel.heads[name].places


def test_the_scale_of_maps_is_that_of_the_fit(case, remake, small_backbone, drawn):
    name, panel, _ = case
    low, high = panel.heads[name].map_range
    again = remake[1](small_backbone, batch_size=1)
    assert again.heads[name].map_range == (low, high)
    score(again, drawn[3:])
    assert again.heads[name].map_range == (low, high)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_batches(case, drawn, batch_size):
    name, panel, expected = case
    assert_same(score(panel, drawn, batch_size)[name], expected)


def test_order(case, drawn):
    name, panel, expected = case
    order = [3, 1, 5, 0, 2, 4]
    found = score(panel, [drawn[i] for i in order])[name]
    assert_same(found, [x[order] for x in expected])


def test_half_precision_moves_scores_little(case, remake, small_file, drawn):
    name, panel, (scores, maps) = case
    half = with_maps(load_backbone(str(small_file), device="cpu", dtype="bfloat16"))
    made = remake[1](half)
    if isinstance(made.heads[name], FITTED):  # a fit on rounded features is another one
        made.heads[name].memory_ = panel.heads[name].memory_
    found = score(made, drawn)[name]
    low, high = panel.heads[name].map_range
    assert (found[1] - maps).abs().max() < 2e-2 * (high - low)
    # what is scaled to the range of the images takes their noise with it, by one over that range
    if not panel.transductive:
        assert (found[0] - scores).abs().max() < 2e-2 * (high - low)


def test_company(small_backbone, adapters, drawn):
    names = [name for name, fitted in CASES if not fitted]
    together = score(make(small_backbone, adapters, names), drawn)
    for name in names:
        assert_same(score(make(small_backbone, adapters, [name]), drawn)[name], together[name])


def test_other_input_sizes_and_patches_that_do_not_fill_them(remake, small_backbone, drawn):
    name, panel_on = remake
    _, maps = score(panel_on(small_backbone, image_size=96), drawn)[name]
    assert maps.shape == (6, 96, 96)
    with pytest.raises(VladError, match="multiple"):
        panel_on(small_backbone, image_size=100)


def test_an_image_without_numbers_does_not_disturb_the_others(case, drawn):
    name, panel, _ = case
    prepared = [panel.prepare(image) for image in drawn]
    for pixels in prepared[2].values():
        pixels[:] = float("nan")
    scores, maps = score_prepared(panel, prepared)[name]
    assert scores[2].isnan() and maps[2].isnan().any()
    others = [0, 1, 3, 4, 5]
    expected = score(panel, [drawn[i] for i in others])[name]
    assert_same((scores[others], maps[others]), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("clip_ad", {"adapter": None}),
        ("clip_ad", {"rescale": False}),
        ("anovl", {"tta": True, "views": False}),
        ("tipsomaly", {"adapter": None}),
        ("uniadet", {"maximum": True}),
        ("musc", {"v2": True}),
        ("subspace", {"batched": True, "mask": "attention"}),
        ("inp_former", {}),
    ],
    ids=str,
)
def test_the_same_holds_with_other_parameters(name, params, small_backbone, adapters, drawn):
    learned = {"adapter": adapters[name]} if name in adapters else {}
    panel = Panel(small_backbone, {name: load_head(name, **learned | params)})
    expected = score(panel, drawn)[name]
    for batch_size in (1, 4):
        assert_same(score(panel, drawn, batch_size)[name], expected)
    order = [3, 1, 5, 0, 2, 4]
    found = score(panel, [drawn[i] for i in order])[name]
    assert_same(found, [x[order] for x in expected])
    prepared = [panel.prepare(image) for image in drawn]
    for pixels in prepared[2].values():
        pixels[:] = float("nan")
    scores, maps = score_prepared(panel, prepared)[name]
    assert scores[2].isnan() and maps[2].isnan().any()
    others = [0, 1, 3, 4, 5]
    expected = score(panel, [drawn[i] for i in others])[name]
    assert_same((scores[others], maps[others]), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("april_gan", {"rescale": "maybe"}),
        ("adaclip", {"seed": 2**32}),
        ("adaclip", {"clusters": -1}),
        ("anomalyclip", {"adapter": 5}),
    ],
)
def test_parameters_out_of_range(name, params, small_backbone, adapters):
    with pytest.raises(VladError):
        head = load_head(name, **{"adapter": adapters[name], **params})
        Panel(small_backbone, {name: head})


@pytest.mark.parametrize("name", READING)
def test_heads_that_read_say_what_they_need(name, small_backbone, adapters, drawn):
    references = drawn[:2] if NORMALS[name] == "needed" else ()
    panel = make(small_backbone, adapters, [name], references)
    prepared = [panel.prepare(image) for image in drawn[:1]]
    if load_bank(panel.heads[name].bank).noun:  # a word of its own, for every category
        without, given = (panel.score(prepared, c)[name] for c in (None, "nut"))
        torch.testing.assert_close(without.image_score, given.image_score)
    else:
        with pytest.raises(HeadError, match="give a `category`"):
            panel.score(prepared, None)
    (features,) = panel.extractor.extract(prepared, list(panel.specs.values()))
    with pytest.raises(HeadError, match="give it"):
        panel.heads[name].score(features)


@pytest.mark.parametrize("name", [name for name in NAMES if NORMALS[name] == "needed"])
def test_heads_that_need_normal_images_say_so(name, small_backbone, adapters, drawn):
    panel = make(small_backbone, adapters, [name])
    with pytest.raises(HeadError, match=f"{name} compares with normal images"):
        panel.score([panel.prepare(drawn[0])], "nut")
