"""The head that docs/extending/head.md builds has the properties of vlad's own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vlad.system.resources import tomllib

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "extending" / "head.md"
FENCE = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.fixture
def installed(tmp_path):
    """(name of that head, folder on sys.path in which its package is installed)."""
    files = dict(FENCE.findall(PAGE.read_text(encoding="utf-8")))
    for file, text in files.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    points = tomllib.loads(files["pyproject.toml"])["project"]["entry-points"]["vlad.heads"]
    ((name, target),) = points.items()
    info = tmp_path / "worked-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: worked\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[vlad.heads]\n{name} = {target}\n")
    return name, tmp_path


def test_it_has_the_properties_of_every_head(installed, run_env):
    name, folder = installed
    path = os.pathsep.join(filter(None, [str(folder), run_env.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "pytest", "tests/heads/test_properties.py", "-k", name]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=ROOT,
        env={**run_env, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # once for each property, and for some batch sizes: it was not passed over
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 8
