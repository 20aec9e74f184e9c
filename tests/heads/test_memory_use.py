"""The head memory with its options in detectors and panels, and what they refuse."""

import numpy as np
import pytest
import torch
from memory_plain import named

import vlad
from vlad.errors import HeadError
from vlad.heads.memory_gather import layers_of
from vlad.images.tiles import Tiling
from vlad.images.views import rotate
from vlad.scoring.panel import Panel
from vlad.types import BackboneInfo

INFO = BackboneInfo("any", 12, 8, 6, 16, 64, has_text=False)


@pytest.mark.parametrize("name", ["coreset", "limit", "mask_references"])
@pytest.mark.parametrize("needing", ["position", "nearest_images", "self_reference"])
def test_options_that_forget_places_are_refused(name, needing):
    value = {"coreset": 0.5, "limit": 9, "mask_references": True}[name]
    head = named(**{name: value, needing: 2})
    with pytest.raises(HeadError, match=f"with `{name}` .* leave out `{name}`, or `{needing}`"):
        head.spec(INFO)


def test_a_share_and_a_number_are_refused_together():
    with pytest.raises(HeadError, match="leave one of them out"):
        named(coreset=0.5, limit=9).spec(INFO)


def test_places_of_tiles_are_refused(small_backbone):
    for options, fits in (({"position": 1}, False), ({"nearest_images": 1}, True)):
        heads = {"memory": named(**options)}
        if fits:
            Panel(small_backbone, heads, tiling=Tiling(32))
        else:
            with pytest.raises(HeadError, match=r"memory compares places .* leave out `tile`"):
                Panel(small_backbone, heads, tiling=Tiling(32))


@pytest.mark.parametrize(
    "options",
    [
        {"views": ["bend"]},
        {"views": "horizontal_flip"},
        {"position": -1},
        {"nearest_images": 0},
        {"limit": 0},
        {"self_reference": -0.1},
        {"whiten": 1},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(options):
    with pytest.raises(HeadError, match=f"{next(iter(options))} is .*; give "):
        named(**options)


WHOLE = {
    "position": {"position": 1},
    "nearest": {"nearest_images": 2},
    "whiten": {"whiten": True},
    "limit": {"limit": 20},
    "self": {"self_reference": 0.5, "views": ["horizontal_flip"]},
    "views": {"views": ["horizontal_flip", "colour_jitter"]},
    "all": {"position": 2, "nearest_images": 2, "whiten": True, "views": ["vertical_flip"]},
}


@pytest.mark.parametrize("options", WHOLE.values(), ids=WHOLE)
def test_a_saved_detector_scores_and_grows_alike(options, small_file, drawn, tmp_path):
    made = vlad.load("memory", backbone=str(small_file), device="cpu", **options).fit(drawn[:3])
    read = vlad.Detector.load(made.save(tmp_path))
    assert read.head_.map_range == made.head_.map_range
    for grow in (False, True):
        if grow:
            made.partial_fit(drawn[3:4])
            read.partial_fit(drawn[3:4])
        one, two = read.score(drawn), made.score(drawn)
        np.testing.assert_allclose(one.image_score, two.image_score, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(one.anomaly_map, two.anomaly_map, atol=1e-5, rtol=1e-5)
    if "limit" in options:
        kept = [made.head_.memory_[name] for name in layers_of(made.head_.memory_)]
        assert {len(x) for x in kept} == {20}
    else:
        whole = vlad.load("memory", backbone=str(small_file), device="cpu", **options)
        expected = whole.fit(drawn[:4]).score(drawn)
        np.testing.assert_allclose(two.image_score, expected.image_score, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", WHOLE.values(), ids=WHOLE)
def test_batch_size_and_order_do_not_change_scores(options, small_backbone, drawn):
    def scores(batch_size, order):
        head = named(**options)
        panel = Panel(small_backbone, {"m": head}, batch_size=batch_size).fit(drawn[:3])
        prepared = [panel.prepare(drawn[i]) for i in order]
        parts = [
            panel.score(prepared[at : at + batch_size])["m"]
            for at in range(0, len(order), batch_size)
        ]
        found = torch.cat([part.anomaly_map for part in parts])
        return found[torch.tensor(order).argsort()]

    expected = scores(6, list(range(6)))
    torch.testing.assert_close(scores(1, list(range(6))), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores(4, [3, 1, 5, 0, 2, 4]), expected, atol=1e-4, rtol=1e-4)


def test_averaged_layers_are_averaged_before_they_are_compared(small_backbone, drawn):
    """As VisionAD does, with its views; a plain loop over the tokens of each block."""
    head = named(layers=[[2, 3, 4]], rotations=4, views=["horizontal_flip", "vertical_flip"])
    panel = Panel(small_backbone, {"m": head}).fit(drawn[:2])
    (spec,) = panel.specs.values()
    each = named(layers=[2, 3, 4]).spec(small_backbone.info)
    turned = [[x, *(rotate(x, 90 * n) for n in (1, 2, 3))] for x in drawn[:2]]
    known = [
        view
        for x, views in zip(drawn[:2], turned, strict=True)
        for view in (*views, x.transpose(0), x.transpose(1))
    ]

    def tokens(images):
        prepared = [panel.extractor.prepare(x, [each]) for x in images]
        (found,) = panel.extractor.extract(prepared, [each])
        return torch.stack(list(found.patches.values())).mean(dim=0)

    rows, queries = tokens(known).flatten(0, 1), tokens(drawn[3:])
    cosine = torch.cosine_similarity(queries[:, :, None], rows, dim=-1).amax(dim=-1)
    found = panel.score([panel.prepare(x) for x in drawn[3:]])["m"].image_score
    assert spec.layers == ((2, 3, 4),)
    torch.testing.assert_close(found, (1 - cosine).amax(dim=1), atol=1e-4, rtol=0)
