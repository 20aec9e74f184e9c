"""The pages build without a warning, and what they say of options and commands is so."""

import inspect
import os
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name

import click
import pytest

from vlad.cli import main
from vlad.demo import HAZELNUT
from vlad.heads import HEADS
from vlad.system.resources import tomllib

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"^\| `(\w+)` \| `(.+?)` \|", re.MULTILINE)
LONGEST = 60  # lines of a worked example


def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}
    assert pages <= {path.relative_to(tmp_path) for path in tmp_path.rglob("*.html")}
    commands = (tmp_path / "cli.html").read_text(encoding="utf-8")
    for name in main.commands:
        assert f'id="vlad-{name}"' in commands
    for page in tmp_path.rglob("*.html"):
        fetched = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?:', page.read_text())
        assert not fetched, f"{page.name} fetches from elsewhere"


def test_every_head_has_a_page():
    assert {path.stem for path in (DOCS / "heads").glob("*.md")} == set(HEADS)


@pytest.mark.parametrize("name", HEADS)
def test_options_of_a_head_are_those_of_its_constructor(name):
    module, _, attribute = HEADS[name].partition(":")
    known = inspect.signature(getattr(import_module(module), attribute)).parameters.values()
    page = (DOCS / "heads" / f"{name}.md").read_text(encoding="utf-8")
    listed = OPTION.findall(page.partition("## Options")[2].partition("## ")[0])
    expected = [(p.name, repr(p.default).replace("'", '"')) for p in known]
    assert listed == expected


def test_paths_and_names_in_the_texts_exist():
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("*/README.md")]
    found = []
    for page in pages:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        paths = re.findall(r"`((?:vlad|tests|tools|benchmarks|docs|prompts)/[\w./]*)`", text)
        names = re.findall(r"`(vlad(?:\.\w+)+)", text)
        for path in paths:
            assert (ROOT / path).exists(), f"{page.name}: {path}"
        for name in names:
            resolve_name(name)
        found += paths + names
    assert {"vlad/heads/musc.py", "vlad.Detector"} <= set(found)


def commands():
    """Every `vlad ...` line in a fence of the README and the pages."""
    for path in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]:
        for language, _, body in FENCE.findall(path.read_text(encoding="utf-8")):
            if language == "bash":
                for line in body.replace("\\\n", " ").splitlines():
                    for part in line.partition(" #")[0].split("&&"):
                        if part.strip().startswith("vlad "):
                            yield pytest.param(part.strip(), id=f"{path.stem}: {part.strip()}")


@pytest.mark.parametrize("line", list(commands()))
def test_commands_are_understood(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # one makes a file of keys
    command, words = main, shlex.split(line)[1:]
    while isinstance(command, click.Group):
        command, words = command.commands[words[0]], words[1:]
    with suppress(click.exceptions.Exit):  # of an option that does its work at once
        command.make_context(command.name, words)  # raises for what it does not know or lacks


@pytest.mark.parametrize("page", sorted((DOCS / "extending").glob("*.md")), ids=lambda p: p.stem)
def test_worked_example(page, tmp_path, run_env):
    """Writes the titled fences to files, installs the entry points, runs try.sh."""
    files = {t: body for _, t, body in FENCE.findall(page.read_text(encoding="utf-8")) if t}
    for name, body in files.items():
        (tmp_path / name).write_text(body, encoding="utf-8")
        assert len(body.splitlines()) < LONGEST, name
    if "pyproject.toml" in files:
        install(tomllib.loads(files["pyproject.toml"])["project"], tmp_path)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, module in {"python": "", "vlad": "-m vlad"}.items():
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        (tools / name).chmod(0o755)
    path = os.pathsep.join(filter(None, [str(tmp_path), run_env.get("PYTHONPATH")]))
    env = {**run_env, "PYTHONPATH": path, "HAZELNUT": str(HAZELNUT)}
    env["PATH"] = f"{tools}{os.pathsep}{env['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "try.sh"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "image AUROC" in done.stdout


def install(project: dict, folder: Path) -> None:
    """What pip leaves of a package, as far as entry points are concerned."""
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head)
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
