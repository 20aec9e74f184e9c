"""The files in docs/deploy agree with the commands, their defaults and this checkout."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from vlad.cli import main

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "deploy"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))["services"]["vlad"]
UNIT = (FOLDER / "vlad.service").read_text(encoding="utf-8")
NGINX = (FOLDER / "nginx.conf").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def default():
    """Option of vlad serve -> its default."""
    return {p.opts[0]: p.default for p in main.commands["serve"].params}.__getitem__


def test_the_dockerfile_copies_what_the_package_is_built_from():
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    assert {"pyproject.toml", "README.md", "LICENSE", "vlad", "prompts", "adapters"} == names
    assert all((ROOT / name).exists() for name in names)


def test_the_commands_are_understood():
    unit = re.search(r"^ExecStart=/opt/vlad/bin/vlad (.+)$", UNIT, re.MULTILINE)[1]
    for verb, *words in (COMPOSE["command"], shlex.split(unit)):
        found = main.commands[verb].make_context(verb, words).params
        assert found["api_keys"] and found["detectors"]
        assert f"location {found['root_path']}/ {{" in NGINX


def test_ports_are_the_default(default):
    port = default("--port")
    assert COMPOSE["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert f"EXPOSE {port}\n" in DOCKERFILE and f"http://127.0.0.1:{port}/healthz" in DOCKERFILE
    assert f"proxy_pass http://127.0.0.1:{port}/;" in NGINX


def test_the_service_answers_before_anyone_gives_up(default):
    timeout = default("--timeout")
    for file, pattern in (
        (NGINX, r"proxy_read_timeout (\d+)s;"),
        (UNIT, r"^TimeoutStopSec=(\d+)$"),
        (str(COMPOSE["stop_grace_period"]), r"^(\d+)s$"),
    ):
        assert int(re.search(pattern, file, re.MULTILINE)[1]) > timeout + 1
    assert f"client_max_body_size {default('--max-mb')}m;" in NGINX


def test_nothing_runs_as_root_or_writes_to_its_root():
    user = re.search(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)[1]
    assert int(user) > 0 and f"chown {user}:" in DOCKERFILE
    assert COMPOSE["read_only"] and COMPOSE["cap_drop"] == ["ALL"]
    mounted = [volume.split(":") for volume in COMPOSE["volumes"]]
    assert ["./detectors", "/detectors", "ro"] in mounted
    for line in ("DynamicUser=yes", "ProtectSystem=strict", "CapabilityBoundingSet="):
        assert f"\n{line}\n" in UNIT
