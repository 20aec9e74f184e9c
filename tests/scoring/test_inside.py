"""A region of interest on scores and maps, for single, joint and tiled scoring."""

import numpy as np
import pytest

from vlad.errors import HeadError, ImageError
from vlad.heads import load_head
from vlad.images.interest import RegionOfInterest
from vlad.images.tiles import WHOLE, Tiling
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import Pools, score_samples
from vlad.types import Sample

HEADS = ("winclip", "memory", "musc")
SIZE = (112, 84)


def upper_left():
    mask = np.zeros((30, 40), bool)
    mask[:15, :20] = True
    return RegionOfInterest.of(mask)


@pytest.fixture
def scored(small_backbone, drawn):
    """Head -> id -> (score, map), and id -> error, of drawn images of one size."""
    images = {str(i): image.resize(SIZE) for i, image in enumerate(drawn)}
    images["tall"] = drawn[0].resize(SIZE[::-1])

    def run(region, tiling=WHOLE):
        heads = {name: load_head(name) for name in HEADS}
        panel = Panel(small_backbone, heads, tiling=tiling, region=region)
        panel.fit([images["0"], images["1"]], ["memory"])
        pools, found, errors = Pools(panel.tiling), {name: {} for name in HEADS}, {}
        batches = score_samples(
            panel,
            [Sample(name, name, "nut") for name in images],
            batch_size=4,
            open_image=images.get,
            pools=pools,
        )
        for batch in [*batches, *pools.scores()]:
            for one in batch:
                if one.failure:
                    errors[one.sample.id] = one.failure
                for name, score in one.scores.items():
                    found[name][one.sample.id] = score, one.maps[name]
        return panel, found, errors

    return run


@pytest.mark.parametrize("tiling", [WHOLE, Tiling(64, 0.25)])
def test_the_score_is_the_maximum_inside_and_the_map_is_lowest_outside(scored, tiling):
    region = upper_left()
    _, whole, _ = scored(None, tiling)
    panel, found, errors = scored(region, tiling)
    for name in HEADS:
        low = panel.heads[name].map_range[0]
        assert found[name].keys() == {str(i) for i in range(6)}
        for key, (score, values) in found[name].items():
            height, width = values.shape
            expected = np.full(values.shape, low, np.float32)
            part = np.s_[: height // 2, : width // 2]
            expected[part] = values[part]
            np.testing.assert_array_equal(values, expected)
            assert score == values[part].max()
            if name != "musc":  # which compares with one image less
                np.testing.assert_allclose(values[part], whole[name][key][1][part], atol=1e-6)
    assert set(errors) == {"tall"}
    assert isinstance(errors["tall"], ImageError) and "proportions" in str(errors["tall"])


def test_what_is_not_finite_inside_is_still_a_failure(scored):
    panel, _, _ = scored(upper_left())
    values = np.zeros((4, 4), np.float32)
    values[0, 0] = np.nan
    scores, maps = panel.inside({"memory": 0.0}, {"memory": values})
    assert np.isnan(scores["memory"]) and np.isnan(maps["memory"][0, 0])
    values[0, 0], values[3, 3] = 0, np.nan
    scores, maps = panel.inside({"memory": 0.0}, {"memory": values})
    assert scores["memory"] == 0 and np.isfinite(maps["memory"]).all()


def test_a_head_that_names_kinds_is_refused(small_backbone):
    with pytest.raises(HeadError, match="labelled names the kind"):
        Panel(small_backbone, {"labelled": load_head("labelled")}, region=upper_left())


def test_the_protocol_says_whose_score_it_is(small_backbone):
    heads = {"memory": load_head("memory")}
    plain = Panel(small_backbone, heads).inside.protocol("memory")
    named = Panel(small_backbone, heads, region=upper_left()).inside.protocol("memory")
    assert named == f"{plain}, maximum of the map in a region of interest"
