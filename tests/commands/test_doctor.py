"""vlad doctor: facts, the fix for each problem, and an exit code that scripts can go by."""

import importlib.metadata
import json
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner

from vlad import __version__
from vlad.backbones import DEFAULT
from vlad.backbones.stored import StoredBackbone
from vlad.cli import main
from vlad.commands import checks as doctor


def test_json_of_this_installation(run_env, tmp_path):
    file = tmp_path / "found.json"
    command = [sys.executable, "-m", "vlad", "doctor", "--json", str(file)]
    done = subprocess.run(command, env=run_env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing is broken." in done.stdout
    found = json.loads(file.read_text())
    assert found["versions"]["vlad"] == __version__
    assert found["versions"]["torch"]
    assert found["backbones"][0]["name"] == "vlad-tiny"
    assert {cache["of"] for cache in found["caches"]} >= {"texts", "adapters"}
    assert found["environment"]["VLAD_CACHE"] == run_env["VLAD_CACHE"]
    assert found["score"]["score"] == pytest.approx(found["score"]["expected"], abs=1e-3)
    assert min(found["device"]["product_ms"].values()) > 0
    # the tests forbid the network
    assert [p["text"] for p in found["problems"] if DEFAULT in p["text"]]
    assert not [p for p in found["problems"] if p["broken"]]


@pytest.fixture
def only(monkeypatch):
    """Leaves one check, and gives what `vlad doctor` then says."""

    def run(check):
        rest = dict.fromkeys(doctor.CHECKS, lambda: (None, []))
        monkeypatch.setattr(doctor, "CHECKS", rest | check)
        return CliRunner().invoke(main, ["doctor"])

    return run


def test_a_missing_or_old_package_is_broken(only, monkeypatch):
    versions = {"scipy": None, "numpy": "1.0"}
    real = importlib.metadata.version

    def version(name):
        if name in versions and versions[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions.get(name) or real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    required = ["numpy>=1.26", "scipy>=1.11", 'tomli>=2; extra == "other"']
    monkeypatch.setattr(importlib.metadata, "requires", {"vlad-vision": required}.get)
    done = only({"versions": doctor.check_versions})
    assert done.exit_code == 1
    assert "Broken: numpy is 1.0, but vlad needs numpy>=1.26; run `pip install" in done.output
    assert "Broken: scipy is not installed; run `pip install 'scipy>=1.11'`." in done.output
    assert "tomli" not in done.output


def test_a_wrong_score_is_broken(only, monkeypatch):
    monkeypatch.setattr(doctor, "SMOKE_SCORE", 0.5)
    done = only({"score": doctor.check_score})
    assert done.exit_code == 1
    assert "instead of 0.50000; reinstall vlad" in done.output


def test_a_check_that_falls_ill_is_broken_and_hides_no_other(only):
    done = only({"device": lambda: 1 / 0, "environment": lambda: ({"VLAD_CACHE": "here"}, [])})
    assert done.exit_code == 1
    assert "Broken: device failed (ZeroDivisionError: division by zero); reinstall" in done.output
    assert "here" in done.output


@pytest.mark.parametrize(
    ("float32", "bfloat16", "line"),
    [
        (254.018, 22035.1, "float32 254 ms, bfloat16 22 035 ms per product; keep float32"),
        (2.345, 0.0512, "float32 2.3 ms, bfloat16 0.051 ms per product; bfloat16 is faster"),
    ],
)
def test_the_faster_dtype_is_named(only, monkeypatch, float32, bfloat16, line):
    times = {torch.float32: float32, torch.bfloat16: bfloat16}
    monkeypatch.setattr(
        "vlad.system.machine.product_ms", lambda device, dtype, budget: times[dtype]
    )
    assert line in only({"device": doctor.check_device}).output


def test_what_only_may_surprise_is_a_note(only, monkeypatch):
    monkeypatch.setenv("VLAD_OFFLINE", "please")
    done = only({"environment": doctor.check_environment})
    assert done.exit_code == 0
    assert "Note: VLAD_OFFLINE=please has no effect; set it to 1, or unset it." in done.output


def test_a_default_backbone_that_is_here_is_no_problem(monkeypatch, tmp_path):
    backbone = StoredBackbone(DEFAULT, tmp_path, 5)
    monkeypatch.setattr("vlad.backbones.stored.stored_backbones", lambda: [backbone])
    facts, problems = doctor.check_backbones()
    assert facts == [{"name": DEFAULT, "path": str(tmp_path), "size": 5}]
    assert problems == []


def test_caches_are_measured_and_a_broken_adapter_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("VLAD_CACHE", str(tmp_path))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "x.safetensors").write_bytes(b"x" * 1000)
    (tmp_path / "adapters" / "torn").mkdir(parents=True)
    (tmp_path / "adapters" / "torn" / "adapter.safetensors").write_bytes(b"")
    facts, problems = doctor.check_caches()
    assert {cache["of"]: cache["size"] for cache in facts}["texts"] == 1000
    (problem,) = problems
    assert problem.broken
    assert "adapter torn is broken" in problem.text
