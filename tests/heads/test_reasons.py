"""What every head says about the regions of an image, and that parts of its score sum to it."""

import pytest
import torch

from vlad.heads import head_maker, head_names, load_head
from vlad.reasons import explain
from vlad.scoring.panel import Panel
from vlad.types import (
    FeatureShift,
    KnownKind,
    NearestPatch,
    NearestSentence,
    Residual,
)

NAMES = head_names()
NORMALS = {name: head_maker(name)().normals for name in NAMES}
# heads that only say where; their pages tell why
ONLY_WHERE = {
    *("anomalyclip", "sowa", "uniadet", "hftt", "metauas", "dfr", "simplenet"),
    *("inp_former", "onenip", "anomalyov", "vlm"),
}
# heads whose score is no sum over patches
NO_PARTS = {
    *("winclip", "april_gan", "clip_ad", "anovl", "anomalyclip", "adaclip", "adaptclip", "filo"),
    *("sowa", "tipsomaly", "uniadet", "laft", "hftt", "musc", "statistics", "anomalyov", "vlm"),
    "flashback",
}
READING = {
    *("winclip", "april_gan", "clip_ad", "anovl", "adaclip", "adaptclip", "filo", "tipsomaly"),
    "flashback",
}
# the type of the first reason
FIRST = {
    **dict.fromkeys(READING, NearestSentence),
    **dict.fromkeys(("mvg", "padim", "statistics", "visual_words"), FeatureShift),
    "subspace": Residual,
}
# with normal images, these name the nearest patch too
REFERENCES = {"winclip", "april_gan", "adaptclip", "sowa", "uniadet", "laft", "musc"}
QUICK = {"inp_former": {"steps": 20}, "onenip": {"steps": 4}}
OPTIONS = {
    "april_gan": {"rescale": False},
    "clip_ad": {"rescale": False},
    "sowa": {"rescale": False},
}
CASES = [
    *((name, False) for name in NAMES if NORMALS[name] != "needed" and name != "musc"),
    *((name, True) for name in NAMES if NORMALS[name] != "unused" or name == "musc"),
]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}{'+' * case[1]}")
def case(request, small_backbone, small_adapter, small_vlm, drawn):
    """(name, whether it was shown normal images, panel with that head, an image)."""
    name, fitted = request.param
    params = QUICK.get(name, {}) | OPTIONS.get(name, {})
    if name == "vlm":
        params["model"] = small_vlm
    if getattr(head_maker(name)(), "needs_adapter", False):
        params["adapter"] = small_adapter(name)
    panel = Panel(small_backbone, {name: load_head(name, **params)})
    return name, fitted, panel.fit(drawn[:3], [name]) if fitted else panel, drawn[4]


def inputs(panel, name, image):
    return panel.inputs(name, panel.prepare(image), "nut")


def cells_of(features):
    return features.grid[0] * features.grid[1]


def test_every_head_gives_reasons_or_only_says_where(case):
    name, fitted, panel, image = case
    features, text = inputs(panel, name, image)
    regions = torch.zeros(2, cells_of(features), dtype=torch.bool)
    regions[0, :4], regions[1, 9:12] = True, True
    with torch.no_grad():
        found = panel.heads[name].reasons(features, text, regions)
    assert len(found) == 2
    if name in ONLY_WHERE and not (fitted and name in REFERENCES):
        assert found == [(), ()]
        return
    for reasons in found:
        assert reasons
        assert isinstance(reasons[0], FIRST.get(name, NearestPatch | KnownKind))
        if fitted and name in REFERENCES:
            assert sum(isinstance(reason, NearestPatch) for reason in reasons) == 1


def test_parts_of_the_score_sum_to_it(case):
    name, _, panel, image = case
    features, text = inputs(panel, name, image)
    head = panel.heads[name]
    with torch.no_grad():
        parts = head.contributions(features, text)
        score = head.score(features, text).image_score[0]
    if name in NO_PARTS:
        assert parts is None
        return
    assert parts.shape == (cells_of(features),)
    torch.testing.assert_close(parts.sum(), score, atol=1e-5, rtol=1e-5)


def test_the_nearest_patch_is_in_the_region_and_in_memory(case):
    name, _, panel, image = case
    features, text = inputs(panel, name, image)
    regions = torch.zeros(1, cells_of(features), dtype=torch.bool)
    regions[0, [5, 6]] = True
    with torch.no_grad():
        (reasons,) = panel.heads[name].reasons(features, text, regions)
    for reason in reasons:
        if isinstance(reason, NearestPatch):
            assert reason.patch in [(1, 1), (1, 2)]
            assert reason.image is None or reason.image in range(3)
            assert reason.distance >= 0


def test_explanations_are_in_words(case):
    name, _, panel, image = case
    found = explain(panel, image, category="nut")
    assert found.regions
    shares = [region.share for region in found.regions]
    if name in NO_PARTS:
        assert not found.sums and set(shares) == {None}
    else:
        assert found.sums
        assert sum(shares) + found.rest == pytest.approx(1, abs=1e-4)
    for region in found.regions:
        assert len(region.texts) == len(region.reasons)


def test_a_region_of_all_patches_leaves_nothing_anomalous(case):
    """What a head says of a score without a region is no more than the score."""
    name, _, panel, image = case
    features, text = inputs(panel, name, image)
    regions = torch.zeros(2, cells_of(features), dtype=torch.bool)
    regions[1] = True
    with torch.no_grad():
        found = panel.heads[name].without(features, text, regions)
        score = panel.heads[name].score(features, text).image_score
    if found is None:
        return
    torch.testing.assert_close(found[:1], score, atol=1e-5, rtol=1e-5)
    assert abs(found[1]) < score + 1e-6
