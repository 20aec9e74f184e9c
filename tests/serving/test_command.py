"""vlad serve through its real entry point, on a free port of this machine."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

import httpx
import pytest
from click.testing import CliRunner

import vlad
from vlad.cli import main

client = httpx.Client(timeout=600)


@pytest.fixture(scope="module")
def saved(memory, tmp_path_factory):
    return memory.save(tmp_path_factory.mktemp("line"))


@pytest.fixture
def running(run_env):
    """Options -> the process and its address, once it answers; stopped if it still runs."""

    @contextmanager
    def start(*options):
        command = [sys.executable, "-m", "vlad", "serve", *map(str, options), "--port", "0"]
        process = subprocess.Popen(
            [*command, "--device", "cpu"],
            env={**run_env, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            line = process.stdout.readline()
            address = re.search(r"http://\S+", line)[0]
            assert client.get(f"{address}/healthz").is_success
            yield process, address
        finally:
            process.kill()
            process.wait()

    return start


def test_it_scores_and_finishes_what_it_began(running, saved, memory, drawn, files, form):
    with running(f"line={saved}", "--timeout", 600) as (process, address):
        found = client.get(f"{address}/v1/detectors").json()["detectors"]
        assert [one["name"] for one in found] == ["line"]
        reply = client.post(f"{address}/v1/score", files=form(*files[:2])).json()
        expected = memory.score(drawn[1]).image_score[0]
        assert reply["images"][1]["image_score"] == pytest.approx(expected, abs=1e-6)
        with ThreadPoolExecutor() as pool:
            late = pool.submit(client.post, f"{address}/v1/score", files=form(*files * 30))
            metrics = f"{address}/metrics"
            while 'route="/v1/score",status="200"} 1.0' not in client.get(metrics).text:
                time.sleep(0.01)
            while "vlad_queue_images 0.0" in client.get(metrics).text:
                assert not late.done()
            process.send_signal(signal.SIGTERM)
            assert late.result().status_code == 200
            assert len(late.result().json()["images"]) == 180
        assert process.wait(120) == 0
        with pytest.raises(httpx.ConnectError):
            client.get(address)


def test_a_head_has_a_region_of_interest(running, small_file, files, form, tmp_path):
    region = tmp_path / "region.json"
    region.write_text('{"size": [300, 100], "box": [0, 0, 100, 100]}')
    options = ("--head", "self_reference", "--backbone", small_file, "--roi", region)
    with running(*options) as (_, address):
        reply = client.post(f"{address}/v1/score", files=form(files[0]))
        assert "other proportions than the region of interest" in reply.text


def test_while_a_request_arrives_others_are_told_that_it_stops(
    running, saved, files, form, eventually
):
    with running(f"line={saved}", "--timeout", 600) as (process, address):
        asked = httpx.Request("POST", f"{address}/v1/score", files=form(files[0]))
        body = asked.read()
        # answered with 100 once the service waits for the body
        headers = [*asked.headers.items(), ("Expect", "100-continue")]
        head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        with socket.create_connection(("127.0.0.1", asked.url.port), timeout=120) as begun:
            begun.sendall(f"POST /v1/score HTTP/1.1\r\n{head}\r\n".encode())
            assert begun.recv(9999).startswith(b"HTTP/1.1 100")
            begun.sendall(body[:100])
            assert client.get(f"{address}/readyz").json() == {"status": "ready"}
            process.send_signal(signal.SIGTERM)
            eventually(lambda: client.get(f"{address}/readyz").status_code == 503)
            for refused in (
                client.get(f"{address}/readyz"),
                client.post(f"{address}/v1/score", files=form(files[0])),
            ):
                assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
                assert "stopping" in refused.json()["detail"]
            assert client.get(f"{address}/healthz").is_success
            begun.sendall(body[100:])
            found = b"".join(iter(partial(begun.recv, 9999), b""))  # up to its end
        assert found.startswith(b"HTTP/1.1 200") and b'"image_score"' in found
        assert process.wait(120) == 0


def test_a_hangup_reloads_what_can_be_loaded(
    running, memory, small_file, drawn, tmp_path, eventually, capfd
):
    folder = memory.save(tmp_path / "line")
    options = ("--queue-per-detector", 3, "--root-path", "/vlad/")
    with running(folder, *options) as (process, address):
        limits = client.get(f"{address}/v1/detectors").json()["limits"]
        assert address.endswith("/vlad") and limits["images"] == 3

        def threshold():
            return client.get(f"{address}/v1/detectors").json()["detectors"][0]["threshold"]

        assert threshold() == memory.calibration_.thresholds["memory"]
        vlad.load("memory", backbone=str(small_file), device="cpu").fit(drawn[0]).save(folder)
        process.send_signal(signal.SIGHUP)
        eventually(lambda: threshold() is None)
        (folder / "detector.json").write_text("{")
        said = ""

        def told():
            nonlocal said
            time.sleep(0.5)  # a look loses what is written between its reading and its clearing
            said += capfd.readouterr().err
            return "line was not reloaded, so the former one stays: " in said

        process.send_signal(signal.SIGHUP)
        eventually(told)
        assert "Reloaded line." in said and threshold() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0


HUNG_UP = """
import os, signal, sys
from vlad.cli import main
from vlad.detector import Detector

def hung_up(folder, load=Detector.load):
    Detector.load = load
    os.kill(os.getpid(), signal.SIGHUP)
    return load(folder)

Detector.load = hung_up
main(["serve", sys.argv[1], "--device", "cpu", "--port", "0"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGHUP")
def test_a_hangup_while_it_loads_is_obeyed_once_it_is_ready(saved, run_env):
    process = subprocess.Popen(
        [sys.executable, "-c", HUNG_UP, str(saved)],
        env=run_env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr.readline() == f"Reloaded {saved.name}.\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 0


def test_all_its_own_options_at_once(running, small_file, run_env, files, form, tmp_path):
    region, ignored = tmp_path / "roi.json", tmp_path / "ignored.json"
    region.write_text('{"size": [300, 100], "box": [0, 0, 100, 100]}')
    ignored.write_text('{"size": [300, 100], "box": [0, 0, 9, 9]}')
    keys, log = tmp_path / "keys.txt", tmp_path / "log.jsonl"
    new_key = CliRunner().invoke(main, ["serve", "--new-key", str(keys)])
    given = {
        "--head": "winclip", "--category": "nut", "--backbone": small_file, "--roi": region,
        "--roi-ignore": ignored, "--host": "127.0.0.1", "--api-keys": keys,
        "--review": tmp_path / "review", "--queue": 9, "--queue-per-detector": 4, "--max-mb": 2.5,
        "--timeout": 500, "--root-path": "/vlad", "--request-log": log,
    }  # fmt: skip
    elsewhere = {option.opts[0] for option in main.commands["fit"].params}
    own = {option.opts[0] for option in main.commands["serve"].params} - elsewhere - {"detectors"}
    assert own - given.keys() == {"--new-key", "--port"}  # the others must be given here
    key = {"Authorization": f"Bearer {new_key.stdout.strip()}"}
    with running(*(word for pair in given.items() for word in pair)) as (_, address):
        assert address.endswith("/vlad")
        said = client.get(f"{address}/v1/detectors", headers=key).json()
        assert said["limits"]["bytes"] == 2_500_000 and said["limits"]["images"] == 4
        assert said["labels"] is True and said["detectors"][0]["category"] == "nut"
        reply = client.post(f"{address}/v1/score", files=form(files[0]), headers=key)
        assert "other proportions than the region of interest" in reply.text
    assert [json.loads(line)["path"] for line in log.read_text().splitlines()][1:] == [
        "/vlad/v1/detectors", "/vlad/v1/score",
    ]  # fmt: skip


def test_a_request_log_on_stdout_holds_nothing_else(saved, files, form, run_env):
    command = [sys.executable, "-m", "vlad", "serve", f"line={saved}", "--request-log", "-"]
    process = subprocess.Popen(
        [*command, "--port", "0", "--device", "cpu"],
        env=run_env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    address = re.search(r"http://\S+", process.stderr.readline())[0]
    asked = client.post(f"{address}/v1/score", files=form(files[0]))
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    (line,) = map(json.loads, out.splitlines())
    assert (line["id"], line["status"]) == (asked.headers["X-Request-Id"], 200)
    assert "POST" not in err
    assert process.returncode == 0


def test_connections_that_begin_no_request_are_closed(running, saved):
    with running(f"line={saved}", "--timeout", "3") as (_, address), ExitStack() as stack:
        host, port = address.removeprefix("http://").split(":")
        begun = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
        # nothing, half a head, and half a second one behind a request that was answered
        sent = (b"", begun, begun + b"\r\n" + begun)
        opened = [
            stack.enter_context(socket.create_connection((host, int(port)), timeout=120))
            for _ in sent
        ]
        for connection, content in zip(opened, sent, strict=True):
            connection.sendall(content)
        for connection, content in zip(opened, sent, strict=True):
            found = b"".join(iter(partial(connection.recv, 9999), b""))  # up to its end
            assert found.count(b"200 OK") == content.count(b"\r\n\r\n")


def test_a_second_interrupt_ends_it_at_once(running, saved, eventually, capfd):
    with running(f"line={saved}") as (process, address):
        port = int(address.rpartition(":")[2])

        with socket.create_connection(("127.0.0.1", port)) as begun:
            begun.sendall(
                b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
                b"Expect: 100-continue\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
            )
            assert begun.recv(9999).startswith(b"HTTP/1.1 100")
            process.send_signal(signal.SIGINT)
            eventually(lambda: client.get(f"{address}/readyz").status_code == 503)
            assert process.poll() is None  # it waits for the rest
            process.send_signal(signal.SIGINT)
            assert process.wait(120) == 130
    said = [x for x in capfd.readouterr().err.splitlines() if "GET /" not in x]
    assert said == ["Stopped."]


def test_a_key_lets_others_in(running, saved, files, form, run_env, tmp_path):
    keys = tmp_path / "keys.txt"
    made = subprocess.run(
        [sys.executable, "-m", "vlad", "serve", "--new-key", str(keys)],
        env=run_env, capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert key not in keys.read_text()
    with running(f"line={saved}", "--host", "0.0.0.0", "--api-keys", keys) as (_, address):
        address = address.replace("0.0.0.0", "127.0.0.1")
        assert client.get(f"{address}/v1/detectors").status_code == 401
        headers = {"Authorization": f"Bearer {key}"}
        assert client.post(f"{address}/v1/score", files=form(files[0]), headers=headers).is_success


def test_what_cannot_be_served_is_one_sentence(saved, tmp_path, small_file, monkeypatch):
    def said(*options):
        done = CliRunner().invoke(main, ["serve", *map(str, options), "--port", "0"])
        assert done.exit_code == 2
        assert done.output.count("\n") == 1
        return done.output

    assert "Nothing to serve" in said()
    assert "no saved detector" in said(tmp_path)
    assert "--new-key" in said(f"a={saved}", "--host", "0.0.0.0")
    assert "--new-key" in said(f"a={saved}", "--host", "::")
    assert "no API keys" in said(f"a={saved}", "--api-keys", saved / "detector.json")
    assert "cannot write" in said(f"a={saved}", "--request-log", tmp_path)
    assert "--root-path" in said(f"a={saved}", "--root-path", "vlad")
    assert "Two detectors" in said(f"a={saved}", f"a={saved}")
    assert "has its own region" in said(f"a={saved}", "--roi", "neck.png")
    assert "64 letters" in said(f"a b={saved}")
    assert "normal images" in said("--head", "memory", "--backbone", small_file)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.delitem(sys.modules, "vlad.serving.app", raising=False)
    assert "pip install 'vlad-vision[serve]'" in said(f"a={saved}")


def test_a_port_that_is_taken_is_one_sentence(saved):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = CliRunner().invoke(main, ["serve", f"a={saved}", "--port", str(port)])
    assert done.exit_code == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in done.output
