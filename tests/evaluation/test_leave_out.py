"""Heads that score the images they were not fitted on, from one pass of the backbone."""

import numpy as np
import pytest

from vlad.errors import InputError
from vlad.evaluation.leave_out import leave_out
from vlad.evaluation.viewer import Viewer
from vlad.heads import load_head
from vlad.scoring.setup import Setup

HEADS = ("memory", "padim", "mvg", "statistics", "winclip")


def plain(backbone, setup, name, shown, scored):
    """Image scores by a panel that is fitted and scores as everywhere else."""
    panel = setup.panel(backbone, {name: load_head(name)})
    panel.fit(shown)
    cut = [list(panel.tiling.cut(image)) for image in scored]
    return np.array(
        [
            max(
                float(panel.score([panel.prepare(tile)], "nut")[name].image_score[0])
                for tile in tiles
            )
            for tiles in cut
        ]
    )


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("tile", [None, 64])
def test_equals_a_fit_without_the_image(small_backbone, drawn, name, tile):
    setup = Setup(tile=tile, batch_size=3)
    viewer = Viewer(setup.panel(small_backbone, {name: load_head(name)}), "nut", len(drawn))
    seen = list(viewer.show(drawn))
    normals, other = drawn[:4], drawn[5]
    found = leave_out(viewer, name, seen[:4], [[one] for one in seen[:4]], seen[5:], seen[4:])
    expected, on_other = [], []
    for i, image in enumerate(normals):
        shown = normals[:i] + normals[i + 1 :]
        scores = plain(small_backbone, setup, name, shown, [image, other])
        expected.append(scores[0])
        on_other.append(scores[1])
    near = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(found.normal, expected, **near)
    np.testing.assert_allclose(found.drawn, expected, **near)
    np.testing.assert_allclose(found.defects, [np.mean(on_other)], **near)
    whole = plain(small_backbone, setup, name, normals, drawn[4:])
    np.testing.assert_allclose(found.parts, whole, **near)
    assert found.seconds > 0


def test_many_images_are_left_out_by_folds(small_backbone, drawn):
    """Of 11 images the first and the last share a fold, so neither is fitted with the other."""
    images = [drawn[i % 4].rotate(5 * i) for i in range(10)]
    images.append(images[0])
    viewer = Viewer(Setup().panel(small_backbone, {"memory": load_head("memory")}), None, 11)
    seen = list(viewer.show(images))
    folds = []
    found = leave_out(
        viewer, "memory", seen, [[one] for one in seen], [], seen, lambda: folds.append(1)
    )
    assert len(folds) == 10
    assert found.normal[0] == pytest.approx(found.normal[10]) and found.normal[0] > 0.01
    assert len(found.defects) == 0


def test_the_backbone_sees_each_image_once(small_backbone, drawn, monkeypatch):
    panel = Setup().panel(small_backbone, {name: load_head(name) for name in ("memory", "padim")})
    viewer = Viewer(panel, None, len(drawn))
    viewer.seconds = dict.fromkeys(panel.heads, 0.0)  # no passes to time
    passed = []
    extract = panel.extractor.extract
    monkeypatch.setattr(
        panel.extractor,
        "extract",
        lambda batch, specs: passed.append(len(batch)) or extract(batch, specs),
    )
    seen = list(viewer.show(drawn))
    for name in panel.heads:
        leave_out(viewer, name, seen[:4], [[one] for one in seen[:4]], seen[4:], seen[4:])
    assert sum(passed) == len(drawn)


def test_features_beyond_memory_are_refused_at_once(small_backbone, drawn):
    viewer = Viewer(Setup().panel(small_backbone, {"memory": load_head("memory")}), None, 10**9)
    with pytest.raises(InputError, match=r"1000000000 images take \d+ GB, more than"):
        next(viewer.show(drawn))
