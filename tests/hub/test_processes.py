"""Commands as a user's own processes, which find the hub on the loopback and the token alone."""

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from hub import Hub
from safetensors.torch import save

import vlad
from vlad.system.resources import data_folder

NAME, FILE = "hf-hub:me/clip", "/open_clip_model.safetensors"
VLAD = [sys.executable, "-m", "vlad"]
FETCH = [*VLAD, "backbones", "fetch", NAME]


@pytest.fixture
def hub(tmp_path):
    with Hub() as made:
        yield made


@pytest.fixture
def weights(hub, small_clip, small_config):
    """The weights of a small CLIP, which vlad loads without the library of its layout."""
    state = {name: x.contiguous() for name, x in small_clip.state_dict().items()}
    # larger than what the client writes at once, which it takes up again
    content = save(state, {"padding": 8_000_000 * " "})
    config = json.dumps({"model_cfg": small_config}).encode()
    hub.add("me/clip", {"open_clip_config.json": config, FILE[1:]: content})
    return content


@pytest.fixture
def env(hub, run_env, tmp_path):
    """The environment of a user with this hub and a cache of its own."""
    off = ("HF_HUB_OFFLINE", "VLAD_OFFLINE", "HF_TOKEN", "HTTP_PROXY", "http_proxy")
    kept = {key: value for key, value in run_env.items() if key not in off}
    own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "VLAD_CACHE": str(tmp_path)}
    return {**kept, **own}


def blobs(tmp_path) -> dict[str, bytes]:
    found = (tmp_path / "hf" / "hub").glob("models--*/blobs/*")
    return {path.name: path.read_bytes() for path in found}


def run(env, *args) -> str:
    """What a command says."""
    done = subprocess.run([*VLAD, *map(str, args)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_in_terminal(env, *args) -> str:
    """What a command shows in a terminal."""
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [*VLAD, *map(str, args)]
    with subprocess.Popen(command, env=env, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        said = b""
        try:
            while piece := os.read(master, 4096):
                said += piece
        except OSError:  # the terminal is closed
            pass
    os.close(master)
    assert process.returncode == 0, said.decode()
    return said.decode()


def assert_scores(detector, paths, out):
    """A run of these images has the scores of a detector."""
    table = (out / "scores.csv").read_text()
    assert len(table.splitlines()) == 1 + len(paths)
    for score in detector.score(paths).image_score:
        assert f",{float(score)}," in table


def test_a_detector_pulled_over_a_slow_line_shows_its_progress_and_scores(
    hub, env, saved, images, tmp_path
):
    hub.add("me/nut", {path.name: path.read_bytes() for path in saved.iterdir()}, private=True)
    hub.fault("slow", "/memory.safetensors", pause=0.3)
    env["HF_HUB_DOWNLOAD_TIMEOUT"] = "2"  # less than all takes, more than any piece
    there, paths = tmp_path / "there", [images / "1.png", images / "4.png"]
    said = run_in_terminal(env | {"HF_TOKEN": "hf_writer"}, "detector", "pull", "me/nut", there)
    assert re.search(r"memory\.safetensors: 100%.* ([\d.]+M)/\1 .*B/s", said), said
    assert len(hub.fetched("/memory.safetensors")) == 1
    hub.asked.clear()
    run(env, "score", *paths, "--detector", there, "--out", tmp_path / "run")
    assert_scores(vlad.Detector.load(saved), paths, tmp_path / "run")
    assert not hub.asked


def test_a_pulled_adapter_scores_by_its_name(hub, env, images, tmp_path):
    folder = data_folder("adapters") / "vlad-tiny-uniadet"
    hub.add("me/drawn", {path.name: path.read_bytes() for path in folder.iterdir()})
    assert run(env, "adapters", "pull", "me/drawn").endswith("--head uniadet --adapter drawn\n")
    paths, built_in = [images / "1.png", images / "4.png"], ("--backbone", "vlad-tiny")
    command = ("score", *paths, "--head", "uniadet", "--adapter", "drawn", *built_in)
    run(env, *command, "--out", tmp_path / "run")
    made = vlad.load("uniadet", backbone="vlad-tiny", device="cpu", adapter=folder.name)
    assert_scores(made, paths, tmp_path / "run")


def as_user() -> list[str]:
    """What takes from root the right to write anywhere."""
    if os.geteuid():
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root writes everywhere, and there is no setpriv")
    rights = "-dac_override,-dac_read_search"
    return ["setpriv", f"--inh-caps={rights}", f"--bounding-set={rights}"]


def test_two_processes_at_once_end_whole_after_one_that_was_killed_and_a_cut(
    hub, weights, env, tmp_path
):
    stall = hub.fault("stall", FILE, after=15_000_000)
    with subprocess.Popen(FETCH, env=env, stderr=subprocess.DEVNULL) as process:
        while not hub.fetched(FILE):
            time.sleep(0.05)
        process.kill()
    assert [name for name in blobs(tmp_path) if len(name) == 64] == []  # whole, by its SHA-256
    stall.times = 0
    hub.asked.clear()
    hub.fault("cut", FILE, after=15_000_000, times=1)
    two = [
        subprocess.Popen(FETCH, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in two:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert "is in the local cache" in out
    assert [one.range for one in hub.fetched(FILE)] == ["", "bytes=10485760-"]  # it starts again
    assert weights in blobs(tmp_path).values()

    # the next one asks nothing, and its cache is read-only
    before = len(hub.asked)
    folders = [Path(root) for root, _, _ in os.walk(tmp_path / "hf")]
    for folder in folders:
        folder.chmod(0o555)
    done = subprocess.run([*as_user(), *FETCH], env=env, capture_output=True, text=True)
    for folder in folders:
        folder.chmod(0o755)
    assert done.returncode == 0 and len(hub.asked) == before, done.stderr
