"""What an explanation says of a known defect, against the scores themselves."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from vlad.errors import HeadError, ImageError
from vlad.heads.head import Head
from vlad.images.interest import RegionOfInterest
from vlad.images.tiles import Tiling
from vlad.reasons import explain
from vlad.scoring.panel import Panel
from vlad.types import FeatureSpec, NearestPatch, Scores


def scored(panel, name, image):
    return panel.score([panel.prepare(image)])[name]


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("memory", {"layers": (1, 3), "top": 0.2}),
        ("memory", {"layers": (2,), "metric": "squared_l2", "self_reference": 0.5}),
        ("patchcore", {"layers": (1, 3)}),
        ("self_reference", {"layers": (2, 3), "top": 0.2}),
    ],
)
def test_score_and_map_are_those_of_scoring_and_shares_sum(panel_of, defect, name, params):
    panel = panel_of(name, **params)
    found, expected = explain(panel, defect), scored(panel, name, defect)
    assert found.image_score == expected.image_score.item()
    assert np.array_equal(found.anomaly_map, expected.anomaly_map[0])
    assert found.sums
    assert sum(r.share for r in found.regions) + found.rest == pytest.approx(1, abs=1e-6)
    assert found.head == name and found.size == (128, 96)


def test_the_region_is_where_the_defect_is(panel_of, defect):
    first = explain(panel_of(layers=(1,)), defect).regions[0]
    assert first.place == "top right"
    x, y, width, height = first.box
    assert x <= 112 <= x + width and y <= 19 <= y + height
    assert first.share > 0.5
    assert 0 < first.area < 0.3


def test_the_score_without_a_region_is_that_of_its_patches_replaced(panel_of, defect):
    panel = panel_of(layers=(2,), top=0.2)
    found = explain(panel, defect, threshold=0.0)
    (region,) = found.regions  # every patch is above 0
    assert region.without == 0
    found = explain(panel, defect)
    assert all(0 < region.without < found.image_score for region in found.regions if region.share)


def test_names_of_reference_images_are_those_of_the_fit(panel_of, defect, tmp_path, normal_images):
    learned = []
    for place, image in enumerate(normal_images):
        image.save(tmp_path / f"{place}.png")
        learned.append((str(tmp_path / f"{place}.png"), "0"))
    found = explain(panel_of(), defect, learned=learned)
    for region in found.regions:
        (nearest,) = region.reasons
        assert isinstance(nearest, NearestPatch)
        assert region.reference == learned[nearest.image][0]
        assert region.reference in region.texts[0]


def test_without_names_the_place_in_the_fit_is_said(panel_of, defect):
    region = explain(panel_of(), defect).regions[0]
    assert region.reference == "" and region.reference_crop is None
    assert f"reference image {region.reasons[0].image}" in region.texts[0]
    assert "not known" in region.reference_note


def test_json_holds_what_is_said_and_no_images(panel_of, defect):
    found = explain(panel_of(), defect, name="part.png")
    read = json.loads(found.to_json())
    assert read["image"] == "part.png" and read["head"] == "memory"
    assert read["image_score"] == pytest.approx(found.image_score, rel=1e-5)
    assert [r["place"] for r in read["regions"]] == [r.place for r in found.regions]
    reason = read["regions"][0]["reasons"][0]
    assert reason["reason"] == "nearest patch"
    assert reason["cell"] == list(found.regions[0].reasons[0].cell)
    assert read["regions"][0]["texts"] == list(found.regions[0].texts)


class Plain(Head):
    """A head that offers no more than it has to."""

    name = "plain"
    map_range = (0.0, 1.0)

    def spec(self, backbone):
        return FeatureSpec(layers=(1,), image=False)

    def score(self, features, text=None):
        x = features.patches[1].mean(dim=-1).unflatten(1, features.grid)
        return Scores(x.flatten(1).amax(dim=1), x.abs())


def test_a_head_without_reasons_says_where_and_why_it_has_no_shares(small_backbone, defect):
    found = explain(Panel(small_backbone, {"plain": Plain()}), defect)
    assert found.regions and not found.sums and found.rest is None
    assert all(r.share is None and r.without is None and r.reasons == () for r in found.regions)
    assert "score of plain is no sum over patches" in found.note


def test_a_head_of_another_package_needs_none_of_these_methods(small_backbone, defect):
    class Foreign:
        def __getattr__(self, name):
            if name in ("reasons", "contributions", "without"):
                raise AttributeError(name)
            return getattr(own, name)

    own = Plain()
    panel = Panel(small_backbone, {"plain": own})
    panel.heads["plain"] = Foreign()
    assert explain(panel, defect).regions


def test_in_a_region_of_interest_the_score_is_the_maximum_inside(panel_of, defect, small_backbone):
    mask = np.zeros((96, 128), bool)
    mask[50:, :] = True
    panel = panel_of()
    inside = Panel(small_backbone, panel.heads, region=RegionOfInterest.of(mask))
    found = explain(inside, defect)
    assert found.image_score == found.anomaly_map.max()
    assert all(region.box[1] + region.box[3] > 48 for region in found.regions)
    assert not found.sums and "maximum of the map" in found.note


def test_what_cannot_be_explained_is_refused(panel_of, defect, small_backbone):
    panel = panel_of()
    two = Panel(small_backbone, {**panel.heads, "self_reference": panel.heads["memory"]})
    with pytest.raises(HeadError, match="One head is explained at a time"):
        explain(two, defect)
    assert explain(two, defect, head="memory").head == "memory"
    tiled = Panel(small_backbone, panel.heads, tiling=Tiling(64))
    with pytest.raises(HeadError, match="cut into tiles are not explained"):
        explain(tiled, defect)
    with pytest.raises(HeadError, match="scores images jointly"):
        explain(panel_of("musc"), defect)


def test_a_score_that_is_not_finite_is_an_error_of_the_image(panel_of, defect):
    panel = panel_of(layers=(1,))
    head = panel.heads["memory"]
    head.memory_ = {name: x * torch.nan for name, x in head.memory_.items()}
    with pytest.raises(ImageError, match=r"part\.png: memory gave no finite score"):
        explain(panel, defect, name="part.png")


def test_why_a_head_has_no_score_is_said(panel_of, defect, monkeypatch):
    panel = panel_of(layers=(1,))
    head = panel.heads["memory"]
    silent = Scores(torch.tensor([torch.nan]), torch.zeros(1, 4, 4), errors=("no answer: busy",))
    monkeypatch.setattr(head, "score", lambda *_: silent)
    with pytest.raises(ImageError, match=r"part\.png: no score of memory \(no answer: busy\); "):
        explain(panel, defect, name="part.png")


def test_the_drawing_shows_image_map_and_both_crops(panel_of, defect, tmp_path, normal_images):
    from vlad.scoring.record import digest_of

    learned = []
    for place, image in enumerate(normal_images):
        file = tmp_path / f"{place}.png"
        image.save(file)
        learned.append((str(file), digest_of(file)))
    found = explain(panel_of(layers=(1,)), defect, learned=learned)
    sheet = found.draw()
    assert isinstance(sheet, Image.Image) and sheet.mode == "RGB"
    first = found.regions[0]
    assert first.reference_crop is not None and first.reference_note == ""
    bare = replace(
        found, regions=tuple(replace(r, reference_crop=None) for r in found.regions)
    ).draw()
    assert np.any(np.asarray(sheet.resize(bare.size)) != np.asarray(bare))
    # the defect is red, and stands in the left image
    red = np.asarray(sheet).astype(int)[:, : sheet.width // 2]
    assert ((red[..., 0] > 200) & (red[..., 1] < 60) & (red[..., 2] < 60)).any()
