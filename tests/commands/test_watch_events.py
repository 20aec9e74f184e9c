"""vlad watch tells other machines of anomalous images, whatever stops it or them."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shlex
import signal
import sys

import pytest
from click.testing import CliRunner
from receiver import Receiver
from watching import rows, until

from vlad.cli import main
from vlad.errors import OutputError

APPEND = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"


def stop(process) -> tuple[str, str]:
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return said, errors


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a Unix thing")
def test_every_anomalous_image_is_told_though_all_are_killed(
    watcher, images, source, tmp_path, run_env
):
    run_env["VLAD_WEBHOOK_SECRET"] = "key"
    out, told = tmp_path / "run", tmp_path / "told"
    for i in range(6):
        os.link(images / f"{i}.png", source / f"{i}.png")
    with Receiver(*[500] * 1000) as receiver:
        first = watcher("--threshold", "0.01", "--webhook", receiver.url)
        receiver.until(lambda: receiver.posts)
        until(lambda: len(rows(out)) == 6, first)
        first.kill()
        first.communicate()
        bad = {row["path"]: row for row in rows(out) if row["memory_verdict"] == "anomalous"}
        assert 1 < len(bad) < 6
        queue = out / "events" / "webhook.jsonl"
        kept = [json.loads(line) for line in queue.read_text().splitlines()]
        assert [event["path"] for event in kept] == list(bad)
        assert not (out / "events" / "webhook.done").read_text()

        # as if it had been killed between the events of the last batch and its rows
        for name in ("scores.csv", "files.csv"):
            lines = (out / name).read_text().splitlines(keepends=True)
            (out / name).write_text("".join(lines[:-4]))
        receiver.answers.clear()
        command = shlex.join([sys.executable, "-c", APPEND, str(told)])
        again = watcher("--threshold", "0.01", "--webhook", receiver.url, "--on-anomaly", command)
        receiver.until(lambda: set(receiver.ids) == {event["id"] for event in kept})
        until(lambda: len(rows(out)) == 6, again)
        said, errors = stop(again)
    assert "6 images scored, 0 failed" in said and "not delivered" not in errors
    assert [json.loads(line) for line in queue.read_text().splitlines()] == kept
    assert (out / "events" / "webhook.done").read_text().split() == [e["id"] for e in kept]
    for headers, body in receiver.posts:
        event = json.loads(body)
        row = bad[event["path"]]
        assert headers["X-Vlad-Delivery"] == event["id"]
        signed = hmac.new(b"key", body, hashlib.sha256).hexdigest()
        assert headers["X-Vlad-Signature"] == f"sha256={signed}"
        assert event["heads"]["memory"]["score"] == pytest.approx(float(row["memory"]), rel=1e-4)
    # the command is new, so it is told of what was scored since
    commanded = [json.loads(line)["path"] for line in told.read_text().splitlines()]
    assert commanded == [path for path in bad if path in {r["path"] for r in rows(out)[-4:]}]


def test_what_is_not_delivered_is_counted_at_the_end(watcher, images, source, tmp_path, small_file):
    for i in (0, 5):
        os.link(images / f"{i}.png", source / f"{i}.png")
    with Receiver(*[500] * 1000) as receiver:
        process = watcher("--threshold", "0.01", "--webhook", receiver.url)
        receiver.until(lambda: receiver.posts)
        until(lambda: len(rows(tmp_path / "run")) == 2, process)
        said, errors = stop(process)
    assert f"Webhook 127.0.0.1:{receiver.server_port}: answered 500; the event is kept" in errors
    assert "What is posted is not signed" in errors
    assert "1 event not delivered yet" in errors and "2 images scored" in said
    # a run that starts again from nothing keeps no events of the former one
    words = ["score", source, "--normal", images / "0.png", "--out", tmp_path / "run"]
    options = ["--overwrite", "--device", "cpu", "--backbone", small_file]
    done = CliRunner().invoke(main, list(map(str, [*words, *options])))
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "run" / "events").exists()


def test_an_event_is_on_disk_before_its_row(images, tmp_path, small_file, monkeypatch):
    def full(*_):
        raise OutputError("the disk is full; free some space.")

    monkeypatch.setattr("vlad.runs.watch.keep_scored", full)
    options = ["--backbone", small_file, "--device", "cpu", "--out", tmp_path / "run"]
    options += ["--normal", images / "0.png", "--threshold", "0.01", "--interval", "0.01"]
    options += ["--on-anomaly", shlex.join([sys.executable, "-c", "raise SystemExit(1)"])]
    done = CliRunner().invoke(main, ["watch", *map(str, [images, *options])])
    assert done.exit_code == 2 and "the disk is full" in done.stderr
    kept = (tmp_path / "run" / "events" / "command.jsonl").read_text().splitlines()
    assert str(images / "5.png") in [json.loads(line)["path"] for line in kept]
    assert not rows(tmp_path / "run")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--webhook", "http://127.0.0.1/"], "add --threshold or --calibration"),
        (["--on-anomaly", "true"], "add --threshold or --calibration"),
        (["--mqtt", "mqtt://127.0.0.1/line"], "add --threshold or --calibration"),
        (["--mqtt", "127.0.0.1", "--threshold", "1"], "is not a broker and a topic for --mqtt"),
        (["--mqtt-login", "file", "--threshold", "1"], "is for --mqtt"),
        (["--webhook", "127.0.0.1", "--threshold", "1"], "is not a URL for --webhook"),
        (["--on-anomaly", "none-such", "--threshold", "1"], "--on-anomaly none-such names no"),
        (["--webhook-secret", "file", "--threshold", "1"], "is for --webhook"),
        (
            ["--webhook", "http://127.0.0.1/", "--webhook-secret", "none", "--threshold", "1"],
            "none cannot be read",
        ),
    ],
)
def test_what_cannot_be_told_is_one_sentence(images, tmp_path, small_file, args, words):
    options = ["--backbone", str(small_file), "--device", "cpu", "--out", str(tmp_path / "run")]
    options += ["--category", "nut"]
    done = CliRunner().invoke(main, ["watch", str(images), *options, *args])
    assert done.exit_code == 2
    assert words in done.stderr.splitlines()[-1] and not list(tmp_path.rglob("run.json"))
