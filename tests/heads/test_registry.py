"""Heads by name, ours and those of other packages."""

import subprocess
import sys
from pathlib import Path

import pytest

from vlad.errors import HeadError
from vlad.heads import HEADS, head_names, load_head

PLUGIN = '''
import torch
from vlad.heads import Head
from vlad.types import FeatureSpec, Scores

class Brightness(Head):
    """The mean of the first channel of the first block, as a score."""
    bank = None
    normals = "unused"
    map_range = (-100.0, 100.0)

    def spec(self, backbone):
        return FeatureSpec(layers=(1,), image=False)

    def fit(self, features):
        return self

    def score(self, features, text=None):
        score = features.patches[1][..., 0].mean(dim=1)
        return Scores(score, score[:, None, None].expand(-1, *features.size))
'''


def test_every_registered_head_can_be_made():
    for name in HEADS:
        head = load_head(name)
        assert head.normals in ("needed", "optional", "unused")


def test_unknown_head_and_parameter():
    with pytest.raises(HeadError, match=r"choose from .*memory.*winclip"):
        load_head("nonsense")
    with pytest.raises(HeadError, match="nonsense"):
        load_head("memory", nonsense=1)


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A folder on sys.path that looks like an installed package with an entry point."""
    (tmp_path / "brightness.py").write_text(PLUGIN)
    info = tmp_path / "brightness-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brightness\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vlad.heads]\nbrightness = brightness:Brightness\n")
    return tmp_path


def test_a_head_of_another_package_registers_by_entry_point(plugin, monkeypatch):
    monkeypatch.syspath_prepend(str(plugin))
    assert "brightness" in head_names()
    assert type(load_head("brightness")).__name__ == "Brightness"


def test_and_scores_through_the_command(plugin, small_file, images, tmp_path, run_env):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "vlad", "score", str(images), "--head", "brightness"]
    command += ["--backbone", str(small_file), "--device", "cpu", "--out", str(out)]
    env = {**run_env, "PYTHONPATH": str(plugin)}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (out / "scores.csv").read_text().startswith("path,brightness,error\n")
