"""Known defects through `vlad score`."""

from __future__ import annotations

import pytest
from PIL import Image


@pytest.fixture
def defects(images, tmp_path):
    """A folder with one marked defect."""
    for folder in ("stain", "ground_truth/stain"):
        (tmp_path / "known" / folder).mkdir(parents=True)
    image = Image.open(images / "5.png")
    image.save(tmp_path / "known" / "stain" / "a.png")
    Image.new("L", image.size, 255).save(tmp_path / "known/ground_truth/stain/a_mask.png")
    return tmp_path / "known"


def test_known_defects_raise_scores(vlad, images, defects, tmp_path, rows):
    out = tmp_path / "run"
    options = ["--normal", images / "0.png", "--head", "memory,labelled", "--out", out]
    done = vlad(images, *options, "--known-defects", defects)
    assert done.exit_code == 0, done.output
    found = [(float(row["memory"]), float(row["labelled"])) for row in rows(out)]
    assert all(labelled >= memory - 1e-6 for memory, labelled in found)
    assert found[5][1] == pytest.approx(2 * found[5][0], rel=1e-3)  # it is the known one
    # a run with another mask is another run
    Image.new("1", (4, 4), 1).resize(Image.open(images / "5.png").size).save(
        defects / "ground_truth/stain/a_mask.png"
    )
    done = vlad(images, *options, "--known-defects", defects, "--resume")
    assert done.exit_code == 2 and "known_defects" in done.stderr


@pytest.mark.parametrize(
    ("head", "mask", "words"),
    [
        ("labelled", "a_mask.png", None),
        ("labelled", None, "name them with --known-defects"),
        ("memory", "a_mask.png", "No head here learns known defects (memory)"),
        ("labelled", "b_mask.png", "1 of the masks match no image"),
    ],
)
def test_known_defects_go_with_a_head_and_their_images(
    vlad, images, defects, tmp_path, head, mask, words
):
    if mask == "b_mask.png":
        truth = defects / "ground_truth/stain"
        (truth / mask).write_bytes((truth / "a_mask.png").read_bytes())
    given = ["--known-defects", defects] if mask else []
    options = ["--normal", images / "0.png", "--head", head, "--out", tmp_path / "run", *given]
    done = vlad(images, *options)
    if words is None:
        assert done.exit_code == 0
    else:
        assert done.exit_code == 2 and words in done.stderr and done.stderr.count("\n") == 1
        assert not (tmp_path / "run").exists()
