"""vlad heads, vlad backbones, vlad completion."""

import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from vlad.cli import main
from vlad.heads import head_names
from vlad.heads.facts import head_facts


def test_heads_says_what_each_needs_and_its_paper():
    lines = CliRunner().invoke(main, ["heads"]).output.splitlines()
    assert max(map(len, lines)) < 120
    cells = {
        lines[i].split()[0]: [line.strip() for line in lines[i : i + 3]]
        for i in range(0, len(lines), 3)
    }
    assert list(cells) == head_names()
    assert cells["memory"][1] == "needs normal images"
    assert cells["musc"][1] == "needs several images"
    assert cells["statistics"][1:3] == ["needs normal images", "no paper"]
    assert cells["uniadet"][1] == "needs an adapter; normal images optional"
    assert cells["tipsomaly"][1] == "needs a category; an adapter optional"
    assert cells["april_gan"][1] == "needs a category, an adapter; normal images optional"
    assert "2106.08265" in cells["patchcore"][2]
    assert "2303.14814" in cells["winclip"][2]


@pytest.mark.parametrize("name", head_names())
def test_every_head_has_one_line_about_itself(name):
    facts = head_facts(name)
    assert 20 < len(facts.summary) < 100
    assert "\n" not in facts.summary + facts.paper


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_valid_and_tells_how_it_is_installed(shell, tmp_path):
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert f"vlad completion {shell}" in done.output.splitlines()[-1]
    if shutil.which(shell):
        (tmp_path / "script").write_text(done.stdout)
        subprocess.run([shell, "-n", tmp_path / "script"], check=True)


def test_what_the_script_asks_for_is_completed(run_env):
    env = {**run_env, "_VLAD_COMPLETE": "bash_complete", "COMP_WORDS": "vlad ca", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "vlad"], env=env, capture_output=True, text=True, check=True
    )
    assert sorted(done.stdout.split()) == ["plain,calibrate", "plain,captions"]
