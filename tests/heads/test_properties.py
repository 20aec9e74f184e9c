"""What holds for every head: batch, order, company and precision do not change results."""

import pytest
import torch

from vlad.backbones import load_backbone
from vlad.errors import HeadError, VladError
from vlad.heads import HEADS, load_head
from vlad.scoring.panel import Panel

LEARNED = ("april_gan", "anomalyclip", "adaclip", "linear")
CASES = [
    *((name, False) for name in HEADS if name not in ("memory", "patchcore")),
    *((name, True) for name in ("winclip", "memory", "patchcore", "april_gan")),
]


@pytest.fixture(scope="module")
def adapters(small_adapter):
    return {name: small_adapter(name) for name in LEARNED}


def make(backbone, adapters, names, references=(), **options):
    heads = {
        name: load_head(name, **({"adapter": adapters[name]} if name in adapters else {}))
        for name in names
    }
    panel = Panel(backbone, heads, **options)
    return panel.fit(references) if references else panel


def score(panel, images, batch_size=6):
    """name -> (scores, maps) of all images."""
    parts, pools = {name: [] for name in panel.heads}, {}
    for start in range(0, len(images), batch_size):
        prepared = [panel.prepare(image) for image in images[start : start + batch_size]]
        for name, found in panel.score(prepared, "nut", pools).items():
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
def case(request, small_backbone, adapters, drawn):
    """(name, panel with that head, scores of all images in one batch)."""
    name, fitted = request.param
    panel = make(small_backbone, adapters, [name], drawn[:2] if fitted else ())
    return name, panel, score(panel, drawn)[name]


def test_shapes_and_bounds(case):
    name, panel, (scores, maps) = case
    low, high = panel.heads[name].map_range
    assert scores.shape == (6,)
    assert maps.shape == (6, 64, 64)
    assert low <= maps.min() and maps.max() <= high
    assert maps.std() > 0 and scores.std() > 0


@pytest.mark.parametrize("batch_size", [1, 4])
def test_batches(case, drawn, batch_size):
    name, panel, expected = case
    assert_same(score(panel, drawn, batch_size)[name], expected)


def test_order(case, drawn):
    name, panel, expected = case
    order = [3, 1, 5, 0, 2, 4]
    found = score(panel, [drawn[i] for i in order])[name]
    assert_same(found, [x[order] for x in expected])


def test_half_precision_moves_scores_little(case, small_file, adapters, drawn):
    name, panel, (scores, maps) = case
    half = load_backbone(str(small_file), device="cpu", dtype="bfloat16")
    fitted = panel.heads[name].fitted
    found = score(make(half, adapters, [name], drawn[:2] if fitted else ()), drawn)[name]
    low, high = panel.heads[name].map_range
    assert (found[1] - maps).abs().max() < 2e-2 * (high - low)
    # what is scaled to the range of the images takes their noise with it, by one over that range
    if not panel.transductive:
        span = 1 if high == 1 or name == "anomalyclip" else high - low
        assert (found[0] - scores).abs().max() < 2e-2 * span


def test_company(small_backbone, adapters, drawn):
    names = [name for name in HEADS if name not in ("memory", "patchcore")]
    together = score(make(small_backbone, adapters, names), drawn)
    for name in names:
        assert_same(score(make(small_backbone, adapters, [name]), drawn)[name], together[name])


def test_other_input_sizes_and_patches_that_do_not_fill_them(small_backbone, adapters, drawn):
    names = ("musc", *LEARNED)
    for name, (_, maps) in score(
        make(small_backbone, adapters, names, image_size=96), drawn
    ).items():
        assert maps.shape == (6, 96, 96), name
    with pytest.raises(Exception, match="multiple"):
        make(small_backbone, adapters, names, image_size=100)


def test_an_image_without_numbers_does_not_disturb_the_others(
    small_backbone, adapters, drawn, monkeypatch
):
    for name in ("musc", *LEARNED):
        panel = make(small_backbone, adapters, [name])
        prepared = [panel.prepare(image) for image in drawn]
        for pixels in prepared[2].values():
            pixels[:] = float("nan")
        pools = {}
        found = panel.score(prepared, "nut", pools)
        if pools:
            (found,) = [part for pool in pools.values() for part in pool.scores()]
        else:
            found = found[name]
        assert found.image_score[2].isnan() and found.anomaly_map[2].isnan().any()
        others = [0, 1, 3, 4, 5]
        expected = score(panel, [drawn[i] for i in others])[name]
        assert_same((found.image_score[others], found.anomaly_map[others]), expected, atol=1e-4)


def test_rescaling_leaves_an_image_without_numbers_out(small_backbone, adapters, drawn):
    panel = make(small_backbone, adapters, ["april_gan"], drawn[:2])
    prepared = [panel.prepare(image) for image in drawn]
    for pixels in prepared[2].values():
        pixels[:] = float("nan")
    pools = {}
    panel.score(prepared, "nut", pools)
    found = torch.cat([part.image_score for part in pools["april_gan"].scores()])
    others = [0, 1, 3, 4, 5]
    expected, _ = score(panel, [drawn[i] for i in others])["april_gan"]
    assert found[2].isnan()
    torch.testing.assert_close(found[others], expected, atol=1e-4, rtol=0)


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


def test_learned_words_about_any_object_need_no_category(small_backbone, adapters, drawn):
    panel = make(small_backbone, adapters, ["anomalyclip"])
    prepared = [panel.prepare(drawn[0])]
    without, given = (panel.score(prepared, name)["anomalyclip"] for name in (None, "nut"))
    torch.testing.assert_close(without.image_score, given.image_score)


@pytest.mark.parametrize("name", [name for name in LEARNED if name != "linear"])
def test_text_heads_need_text_and_backbones_that_read(name, small_backbone, adapters, drawn):
    panel = make(small_backbone, adapters, [name])
    if name != "anomalyclip":
        with pytest.raises(HeadError, match="--category"):
            panel.score([panel.prepare(drawn[0])], None)
    features = panel.extractor.extract([panel.prepare(drawn[0])], list(panel.specs.values()))[0]
    with pytest.raises(HeadError, match="give it"):
        panel.heads[name].score(features)
