"""--quality sets what nobody named, says so, and is kept with the run."""

import json

import pytest

from vlad.commands.options import Common
from vlad.commands.options.quality import LEVELS, set_by
from vlad.scoring.setup import Setup


@pytest.fixture
def preset(capsys):
    """set_by for options that were given -> the setup, the head and what was said."""

    def run(quality, default="memory", head=None, images=100, **given):
        common = Common(Setup(**given), (), (), frozenset(given))
        found, chosen = set_by(quality, common, head, default, images)
        return found.setup, chosen, capsys.readouterr().out

    return run


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("default", ["memory", "winclip", "self_reference"])
def test_every_level_sets_a_backbone_and_a_head_that_it_can_serve(preset, level, default):
    setup, head, said = preset(level, default)
    assert f"Quality {level}: head {head}, backbone {setup.backbone}, " in said
    assert "as given" not in said
    if default == "winclip":
        assert setup == Setup() and head == "winclip"


def test_levels_go_up(preset):
    fast, balanced, best = (preset(level)[0] for level in LEVELS)
    assert fast.image_size < balanced.image_size < best.image_size
    assert fast.tile is balanced.tile is None and best.tile
    assert preset("best")[1] == "subspace"


def test_what_is_given_stays(preset):
    setup, head, said = preset("best", head="memory", image_size=448, tile=300)
    assert (head, setup.image_size, setup.tile) == ("memory", 448, 300)
    assert setup.backbone != Setup().backbone
    for part in ("head memory", "input of 448 pixels", "tiles of 300 pixels"):
        assert f"{part} (as given)" in said


def test_size_and_head_go_with_the_backbone(preset):
    setup, head, said = preset("best", backbone="vlad-tiny")
    assert (setup.backbone, setup.image_size, head) == ("vlad-tiny", None, "memory")
    assert setup.tile and "backbone vlad-tiny (as given), input of its own size" in said


def test_a_head_that_reads_gets_a_backbone_that_does(preset):
    """Normal images are given, but the head named needs words."""
    assert preset("balanced", head="winclip")[0].backbone == Setup().backbone
    assert preset("balanced", head="memory, winclip")[0].backbone == Setup().backbone
    assert preset("balanced", "winclip", head="memory")[0].backbone == "facebook/dinov2-small"


def test_many_images_alone_are_compared_with_each_other(preset):
    assert preset("best", "self_reference", images=16)[1] == "musc"
    assert preset("best", "self_reference", images=15)[1] == "self_reference"


def test_score_does_it_and_run_json_says_so(images, tmp_path, vlad):
    out = tmp_path / "run"
    done = vlad(images / "5.png", "--normal", images / "0.png", "--quality", "best", "--out", out)
    assert done.exit_code == 0, done.output
    assert "Quality best: head memory, backbone " in done.stdout and "(as given)" in done.stdout
    written = json.loads((out / "run.json").read_text())
    assert written["quality"] == "best" and written["tile"] == 1024
    assert list(written["params"]) == ["memory"]


def test_without_it_nothing_is_said(images, tmp_path, vlad):
    done = vlad(images / "5.png", "--normal", images / "0.png", "--out", tmp_path / "run")
    assert done.exit_code == 0 and "Quality" not in done.output
    assert "quality" not in json.loads((tmp_path / "run" / "run.json").read_text())
