"""Downloads as a user's own processes make them, from a hub on the loopback."""

import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from hub import Hub
from safetensors.numpy import load, save

NAME, FILE = "timm/test_vit.r160_in1k", "/model.safetensors"
FETCH = [sys.executable, "-m", "vlad", "backbones", "fetch", NAME]


@pytest.fixture
def hub(tmp_path):
    with Hub() as made:
        yield made


@pytest.fixture
def weights(hub):
    """The weights of a small network."""
    import timm
    import torch
    from safetensors.torch import save as save_torch

    torch.manual_seed(0)
    content = save_torch(timm.create_model("test_vit").state_dict())
    hub.add(NAME, {"model.safetensors": content})
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


def test_a_slow_line_shows_its_progress_and_no_time_out(hub, weights, env, tmp_path):
    hub.fault("slow", FILE, pause=0.3)
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    env["HF_HUB_DOWNLOAD_TIMEOUT"] = "2"  # less than all takes, more than any piece
    with subprocess.Popen(FETCH, env=env, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        said = b""
        try:
            while piece := os.read(master, 4096):
                said += piece
        except OSError:  # the terminal is closed
            pass
    os.close(master)
    assert process.returncode == 0, said.decode()
    assert len(hub.fetched(FILE)) == 1
    assert b"model.safetensors: " in said and b"1.49M/1.49M" in said and b"B/s" in said

    # the next one asks nothing, and its cache is read-only
    before = len(hub.asked)
    folders = [Path(root) for root, _, _ in os.walk(tmp_path / "hf")]
    for folder in folders:
        folder.chmod(0o555)
    done = subprocess.run([*as_user(), *FETCH], env=env, capture_output=True, text=True)
    for folder in folders:
        folder.chmod(0o755)
    assert done.returncode == 0 and len(hub.asked) == before, done.stderr


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
    # larger than what the client writes at once, which it takes up again
    content = save(load(weights), {"padding": 20_000_000 * " "})
    hub.add(NAME, {"model.safetensors": content})
    stall = hub.fault("stall", FILE, after=15_000_000)
    with subprocess.Popen(FETCH, env=env, stderr=subprocess.DEVNULL) as process:
        while not hub.fetched(FILE):
            time.sleep(0.05)
        process.kill()
    assert [name for name in blobs(tmp_path) if not name.endswith(".incomplete")] == []
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
    assert content in blobs(tmp_path).values()
