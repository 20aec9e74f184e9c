"""Anomaly-OV's expert against its authors' module, and what its crops and its map are."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from vlad.adapters import Adapter
from vlad.adapters.checkpoint import read_checkpoint, write_checkpoint
from vlad.adapters.layouts import default_params, ours, tensor_shapes
from vlad.errors import AdapterError, HeadError
from vlad.heads import load_head
from vlad.heads.anomalyov import AnomalyOV, judgement, placed, position_weights, significance
from vlad.heads.facts import head_facts
from vlad.scoring.export import backbone_graph
from vlad.scoring.panel import Panel
from vlad.types import BackboneInfo, Crops, Features

SMALL = BackboneInfo("siglip", 27, 48, 48, 14, 112, has_text=True, has_cls=False)
SIGLIP = BackboneInfo("so400m", 27, 1152, 1152, 14, 378, has_text=True, has_cls=False)
LEVELS = (7, 13, 19, 25)


@pytest.fixture(scope="module")
def case(parity):
    return {name: torch.from_numpy(x) for name, x in parity.case("anomalyov").items()}


@pytest.fixture(scope="module")
def checkpoint(case, tmp_path_factory):
    """A file with the tensors of the case by their authors' names."""
    file = tmp_path_factory.mktemp("expert") / "pretrained_expert_05b.pth"
    learned = {n.removeprefix("learn."): x for n, x in case.items() if n.startswith("learn.")}
    torch.save(learned, file)
    return file


@pytest.fixture(scope="module")
def tensors(checkpoint):
    return read_checkpoint(checkpoint, "anomalyov", SMALL)[0]


def images(case):
    """levels, last tokens and expected values of each image's crops."""
    start = 0
    for i, count in enumerate(case["split"].tolist()):
        crops = slice(start, start + count)
        yield i, [case[f"level.{n}"][crops].float() for n in range(4)], crops
        start += count


def test_parity(case, tensors):
    for i, levels, crops in images(case):
        last = case["ov"][crops].float()
        marks = significance(levels, last[0], (8, 8), tensors)
        looked, score = judgement(last, marks, (8, 8), tensors)
        assert_close(marks.unflatten(1, (1, 8, 8)), case["anomaly_map"][crops])
        assert_close(marks.mean(dim=1), case["patch_significance"][crops])
        assert_close(looked, case["tokens"][crops])
        assert_close(score, case["score"][i, 0])


def test_parity_of_the_head(case, checkpoint):
    """The whole image comes as the image, the other crops as its tiles."""
    found, params = read_checkpoint(checkpoint, "anomalyov", SMALL)
    head = AnomalyOV(Adapter("x", "anomalyov", "siglip", "nothing", params, found))
    spec = head.spec(SMALL)
    assert spec.layers == (*LEVELS, 26) and spec.crops and not spec.image
    batch = []
    for _, levels, crops in images(case):
        patches = dict(zip(spec.layers, [*levels, case["ov"][crops].float()], strict=True))
        whole, tiles = (
            Features(None, {n: x[part] for n, x in patches.items()}, (8, 8), (112, 112))
            for part in (slice(1), slice(1, None))
        )
        count = len(levels[0]) - 1
        inside = ((0, 112), (0, 112 * count))
        batch.append(replace(whole, crops=(Crops(tiles, (1, count), inside),)))
    scores = head.score(Features.cat(batch))
    assert_close(scores.image_score, case["score"][:, 0])
    # the second image has one tile, which covers all of it
    marks = case["anomaly_map"][3:5, 0].mean(dim=0)
    expected = F.interpolate(marks[None, None], (112, 112), mode="bilinear")[0, 0]
    assert_close(scores.anomaly_map[1], expected)


def test_an_image_without_any_suspicion_is_looked_at_evenly(case, tensors):
    _, levels, crops = next(images(case))
    last = case["ov"][crops].float()
    marks = torch.zeros(levels[0].shape[:2])
    for found, even in zip(
        judgement(last, marks, (8, 8), tensors),
        judgement(last, marks + 0.5, (8, 8), tensors),
        strict=True,
    ):
        assert_close(found, even)


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_sizes_are_read_from_the_file(checkpoint, tmp_path):
    tensors, params = read_checkpoint(checkpoint, "anomalyov", SMALL)
    sizes = {"positions": 64, "embedding": 32, "summary": 32, "attention": 32, "hidden": 24}
    assert params == {"layers": list(LEVELS), **sizes}
    adapter = Adapter("x", "anomalyov", "siglip", "nothing", params, tensors)
    write_checkpoint(adapter, tmp_path / "again.pth", None)
    theirs, mine = (torch.load(f, weights_only=True) for f in (checkpoint, tmp_path / "again.pth"))
    assert theirs.keys() == mine.keys()
    for name, x in theirs.items():
        torch.testing.assert_close(mine[name], x, atol=0, rtol=0)


def test_shapes_at_the_size_of_the_authors():
    params = default_params("anomalyov", SIGLIP)
    shapes = tensor_shapes("anomalyov", SIGLIP, params)
    assert params["layers"] == list(LEVELS)
    assert shapes["positions.weight"] == (1, 729)
    assert shapes["tokens.3.weight"] == (512, 1152) and shapes["sides.0.weight"] == (512, 1024)
    assert shapes["score.2.weight"] == (1, 512) and shapes["query.weight"] == (512, 1152)
    assert ours("anomalyov", "final_predictor.2.bias") == "score.2.bias"


def test_the_last_block_but_one_may_have_a_width_of_its_own():
    stages = replace(SIGLIP, depth=4, width=448, widths=(32, 56, 160, 448))
    shapes = tensor_shapes("anomalyov", stages, default_params("anomalyov", stages))
    assert [shapes[f"{name}.weight"][1] for name in ("summary.0", "query", "key", "score.0")] == (
        [160] * 4
    )


def test_positions_that_are_no_square():
    with pytest.raises(AdapterError, match="square grid, but the adapter has 700; choose"):
        tensor_shapes(
            "anomalyov", SIGLIP, {**default_params("anomalyov", SIGLIP), "positions": 700}
        )


def test_another_grid_has_the_same_weights_in_other_places():
    ramp = torch.linspace(0, 1, 8).expand(8, 8)  # grows from left to right
    tensors = {"positions.weight": ramp.reshape(1, 64)}
    assert position_weights((8, 8), tensors) is tensors["positions.weight"]
    for grid in ((4, 4), (16, 16), (6, 10)):
        found = position_weights(grid, tensors).reshape(grid)
        torch.testing.assert_close(found.sum(), ramp.sum())
        assert (found.diff(dim=1) >= 0).all() and found.diff(dim=0).abs().max() < 1e-6


def test_tiles_are_placed_where_they_were():
    """Two tiles side by side; 8 pixels above and below were added around the image."""
    marks = torch.zeros(2, 4, 4)
    marks[1, 0, 0] = 1  # above the image, as the first row of patches is 8 pixels high
    marks[1, 2, 3] = 0.5
    tiles = Features(None, {}, (4, 4), (32, 32))
    found = placed(marks, Crops(tiles, (1, 2), ((8, 24), (0, 64))), (32, 64))
    assert found.shape == (32, 64)
    row, column = divmod(int(found.argmax()), 64)
    assert 16 < row < 32 and 56 <= column < 64  # the lower half, at the right border
    assert found[:, :24].max() == 0  # the first tile, away from its neighbour


@pytest.fixture(scope="module")
def panel(small_backbone, small_adapter):
    adapter = small_adapter("anomalyov")
    return lambda **params: Panel(
        small_backbone, {"anomalyov": load_head("anomalyov", adapter=adapter, **params)}
    )


def test_a_defect_too_small_for_the_whole_image_changes_the_crops(panel):
    """In 1000 pixels, 4 are a quarter of one in the whole image and one in the tiles of 64."""
    plain = Image.new("RGB", (1000, 1000), (120, 130, 140))
    spoilt = plain.copy()
    spoilt.paste((255, 0, 0), (600, 300, 604, 304))

    def change(made):
        parts = [made.score([made.prepare(x)])["anomalyov"] for x in (plain, spoilt)]
        return (parts[1].anomaly_map - parts[0].anomaly_map).abs().max()

    assert change(panel()) > 3 * change(panel(crops=False))


def test_images_of_several_shapes_in_one_batch(panel, drawn):
    made = panel()
    shapes = [(100, 100), (400, 80), (60, 300)]
    prepared = [made.prepare(drawn[0].resize(shape)) for shape in shapes]
    together = made.score(prepared)["anomalyov"]
    for i, one in enumerate(prepared):
        alone = made.score([one])["anomalyov"]
        assert_close(together.image_score[i : i + 1], alone.image_score)
        assert_close(together.anomaly_map[i : i + 1], alone.anomaly_map)


def test_a_stored_feature_does_not_replace_crops(small_backbone, small_adapter, drawn, tmp_path):
    head = load_head("anomalyov", adapter=small_adapter("anomalyov"))
    plain, cached = (Panel(small_backbone, {"x": head}, cache=c) for c in (None, str(tmp_path)))
    for _ in range(2):
        one, other = (p.score([p.prepare(drawn[1])])["x"] for p in (plain, cached))
        torch.testing.assert_close(one.image_score, other.image_score)


def test_what_it_needs():
    assert head_facts("anomalyov").needs == "an adapter"
    with pytest.raises(AdapterError, match="anomalyov needs a trained adapter"):
        AnomalyOV().spec(SIGLIP)


def test_export_is_of_the_whole_image_alone(panel):
    with pytest.raises(HeadError, match="set crops=false"):
        backbone_graph(panel(), "anomalyov")
    assert backbone_graph(panel(crops=False), "anomalyov")
