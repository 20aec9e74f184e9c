"""The wheel that users get holds the code, the data and the images, and runs from anywhere."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from the sdist, as an index would serve it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(out.glob("*.tar.gz"))
    (wheel,) = out.glob("*.whl")
    return wheel


def test_every_module_is_inside(wheel):
    """A folder that .gitignore names too loosely is left out of wheels without a word."""
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "vlad").rglob("*.py")}
    assert "vlad/runs/run.py" in modules
    assert modules <= names


def test_data_is_inside(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("prompts", "adapters"):
        mine = {str(p.relative_to(ROOT)) for p in (ROOT / folder).rglob("*") if p.is_file()}
        assert {"prompts/words.txt", "adapters/cards/sowa-visa.toml"} & mine
        assert {f"vlad/_data/{name}" for name in mine} <= names
    assert "vlad/_data/benchmarks/published.toml" in names
    ends = {".css", ".js", ".j2"}
    written = {str(p.relative_to(ROOT)) for p in (ROOT / "vlad").rglob("*") if p.suffix in ends}
    assert len(written) > 8
    assert written <= names
    assert {
        "vlad/backbones/tiny/vlad-tiny.safetensors",
        "vlad/backbones/known.toml",
        "vlad/backbones/tiny/CARD.md",
        "vlad/backbones/tiny/LICENSE",
        "vlad/backbones/tiny/NOTICE",
        "vlad/demo/ATTRIBUTION.txt",
        "vlad/serving/page/page.html",
        "vlad/report/base.css",
        "vlad/serving/page/page.css",
        "vlad/serving/page/js/start.js",
        "vlad/py.typed",
    } <= names
    assert sum(name.startswith("vlad/demo/hazelnut/test/") for name in names) == 23
    assert sum(name.startswith("vlad/demo/cookie/test/") for name in names) == 20
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


def test_it_runs_away_from_the_checkout(wheel, tmp_path, run_env):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    env = {**run_env, "PYTHONPATH": str(tmp_path / "site")}
    show = "import vlad; print(vlad.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", show], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.startswith(str(tmp_path / "site"))
    done = subprocess.run(
        [sys.executable, "-m", "vlad", "prompts", "list"],
        env=env, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "winclip" in done.stdout
