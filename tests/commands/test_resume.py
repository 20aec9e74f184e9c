"""A run of vlad score that is stopped, continued, or met by another one."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from vlad.errors import InputError
from vlad.results.finished import read_finished
from vlad.results.maps import read_map
from vlad.runs import run
from vlad.system.lock import locked


def test_resume_scores_nothing_twice_and_ends_the_same(vlad, images, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    options = ["--category", "nut", "--batch-size", 2]
    assert vlad(images, *options, "--out", whole).exit_code == 0
    assert vlad(images, *options, "--out", stopped).exit_code == 0
    # as a kill in the middle leaves it: three rows, one of them torn
    text = (stopped / "scores.csv").read_text().splitlines(keepends=True)
    (stopped / "scores.csv").write_text("".join(text[:3]) + text[3][:20])
    for i in range(2, 6):
        (stopped / "maps" / "winclip" / f"{i}.png").unlink()
    (stopped / "report.html").unlink()
    (stopped / "maps" / "winclip" / "0.png").chmod(0o600)
    before = (stopped / "maps" / "winclip" / "0.png").stat().st_mtime_ns
    done = vlad(images, *options, "--out", stopped, "--resume")
    assert done.exit_code == 0, done.output
    assert (stopped / "maps" / "winclip" / "0.png").stat().st_mtime_ns == before
    assert (stopped / "scores.csv").read_bytes() == (whole / "scores.csv").read_bytes()
    for i in range(6):
        name = f"maps/winclip/{i}.png"
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()
    assert (stopped / "report.html").is_file()


def test_resume_brings_back_maps_that_were_deleted(vlad, images, tmp_path):
    out = tmp_path / "run"
    options = ["--category", "nut", "--batch-size", 1, "--out", out]
    assert vlad(images, *options).exit_code == 0
    lost, kept = (out / "maps" / "winclip" / f"{i}.png" for i in (3, 4))
    before, scores, written = lost.read_bytes(), (out / "scores.csv").read_bytes(), kept.stat()
    lost.unlink()
    done = vlad(images, *options, "--resume")
    assert done.exit_code == 0, done.output
    assert lost.read_bytes() == before and (out / "scores.csv").read_bytes() == scores
    assert kept.stat().st_mtime_ns == written.st_mtime_ns


def heed_interrupts():
    """A test run in the background of a script inherits that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_resume_with_other_images_or_references(vlad, images, tmp_path, rows):
    other = tmp_path / "other"
    other.mkdir()
    (other / "0.png").write_bytes((images / "5.png").read_bytes())
    out, normal = tmp_path / "run", tmp_path / "normal.png"
    normal.write_bytes((images / "1.png").read_bytes())
    assert vlad(images, "--normal", normal, "--out", out).exit_code == 0
    # their maps would have the names of those that are there
    done = vlad(other, "--normal", normal, "--out", out, "--resume")
    assert done.exit_code == 2
    assert "root" in done.stderr
    again = images / ".." / images.name
    done = vlad(again, "--normal", normal, "--out", out, "--resume")
    assert done.exit_code == 0, done.output
    assert len(rows(out)) == 6
    normal.write_bytes((images / "2.png").read_bytes())
    done = vlad(images, "--normal", normal, "--out", out, "--resume")
    assert done.exit_code == 2
    assert "references" in done.stderr


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_keeps_every_finished_row(how, images, tmp_path, small_file, run_env):
    for i in range(6, 60):
        (images / f"{i}.png").write_bytes((images / f"{i % 6}.png").read_bytes())
    out = tmp_path / "run"
    command = [sys.executable, "-m", "vlad", "score", str(images), "--category", "nut"]
    command += ["--backbone", str(small_file), "--device", "cpu", "--batch-size", "1"]
    command += ["--out", str(out)]
    process = subprocess.Popen(
        command, env=run_env, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    )
    csv_file = out / "scores.csv"
    deadline = time.monotonic() + 600
    while not csv_file.is_file() or csv_file.read_bytes().count(b"\n") < 4:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(how)
    said = process.communicate()[1]
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "--resume" in said
    kept = [line for line in csv_file.read_text().splitlines()[1:] if line.count(",") == 2]
    assert 3 <= len(kept) < 60
    for line in kept:
        stem = os.path.splitext(os.path.basename(line.split(",")[0]))[0]
        assert (out / "maps" / "winclip" / f"{stem}.png").is_file()
    done = subprocess.run([*command, "--resume"], env=run_env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = csv_file.read_text().splitlines()
    assert len(after) == 61
    assert set(kept) <= set(after)


def test_two_runs_never_write_to_one_folder(vlad, images, tmp_path, rows):
    out = tmp_path / "run"
    with locked(out):
        for more in ([], ["--resume"]):
            done = vlad(images, "--category", "nut", "--out", out, *more)
            assert done.exit_code == 2
            assert "another run is writing to" in done.stderr and done.stderr.count("\n") == 1
        assert not (out / "run.json").exists()
    assert vlad(images, "--category", "nut", "--out", out).exit_code == 0
    with locked(out):
        done = vlad(images, "--category", "nut", "--out", out, "--overwrite")
        assert done.exit_code == 2
    assert len(rows(out)) == 6


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are a Unix thing")
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_afterwards(
    images, tmp_path, small_file, run_env, rows
):
    for i in range(6, 80):
        os.link(images / f"{i % 6}.png", images / f"{i}.png")
    out, limit = tmp_path / "run", 4096
    command = [sys.executable, "-m", "vlad", "score", str(images), "--category", "nut"]
    command += ["--backbone", str(small_file), "--device", "cpu", "--maps", "none"]
    command += ["--out", str(out), "--resume"]

    def fill_up():  # a file that may not grow fails as on a full disk, in the middle of a row
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    done = subprocess.run(command, env=run_env, capture_output=True, text=True, preexec_fn=fill_up)
    assert done.returncode == 2, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert len(said) == 1 and f"cannot write {out}" in said[0]
    assert "Traceback" not in done.stderr
    kept = (out / "scores.csv").read_text()
    assert 8 < kept.count("\n") < 80
    done = subprocess.run(command, env=run_env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(rows(out)) == 80
    whole = kept[: kept.rfind("\n")].splitlines()
    assert set(whole) <= set((out / "scores.csv").read_text().splitlines())


def test_a_run_that_is_there_is_kept_unless_told(vlad, images, tmp_path):
    out = tmp_path / "run"
    vlad(images, "--category", "nut", "--out", out)
    before = (out / "scores.csv").read_bytes()
    done = vlad(images, "--category", "nut", "--out", out)
    assert done.exit_code == 2
    assert "--resume" in done.stderr
    done = vlad(images, "--category", "bolt", "--out", out, "--resume")
    assert done.exit_code == 2
    assert "category: nut there, bolt now" in done.stderr
    assert (out / "scores.csv").read_bytes() == before
    assert vlad(images, "--category", "bolt", "--out", out, "--overwrite").exit_code == 0
    assert (out / "scores.csv").read_bytes() != before


@pytest.mark.parametrize("head", ["memory", "musc", "memory,musc"])
def test_images_that_were_replaced_are_scored_again(vlad, images, drawn, tmp_path, rows, head):
    args = (images, "--head", head, "--out", tmp_path / "run")
    fresh = tmp_path / "fresh"
    normal = ("--normal", images / "0.png") if "memory" in head else ()
    assert vlad(*args, *normal).exit_code == 0
    untouched = vlad(*args, *normal, "--resume")
    assert "changed" not in untouched.output
    drawn[5].save(images / "2.png")
    done = vlad(*args, *normal, "--resume")
    assert done.exit_code == 0, done.output
    assert "1 image changed" in done.output and "2.png" in done.output
    assert vlad(images, "--head", head, *normal, "--out", fresh).exit_code == 0
    for found, expected in zip(rows(tmp_path / "run"), rows(fresh), strict=True):
        for name in head.split(","):
            assert float(found[name]) == pytest.approx(float(expected[name]), abs=1e-4)
    for file in (fresh / "maps").rglob("*.png"):
        found = read_map(tmp_path / "run" / file.relative_to(fresh))
        np.testing.assert_allclose(found, read_map(file), atol=1e-3)
    assert "changed" not in vlad(*args, *normal, "--resume").output


def test_a_replaced_image_keeps_its_old_row_until_it_is_scored(vlad, images, drawn, tmp_path, rows):
    """Stopped behind the row and before the state of its file, a run scores it again."""
    args = (images, "--head", "memory", "--normal", images / "0.png", "--out", tmp_path / "run")
    assert vlad(*args).exit_code == 0
    before = (tmp_path / "run" / "files.csv").read_bytes()
    drawn[5].save(images / "2.png")
    vlad(*args, "--resume")
    files = tmp_path / "run" / "files.csv"
    after = files.read_text().splitlines()
    files.write_bytes(before)
    vlad(*args, "--resume")
    again = files.read_text().splitlines()
    read = [line.rsplit(",", 1)[1] for line in (*after, *again)]
    changed = [i for i in range(6) if read[i] != read[6 + i]]
    assert changed == [2]
    lines = files.read_text().splitlines(keepends=True)
    files.write_text("".join(line for line in lines if "2.png" not in line))
    drawn[4].save(images / "2.png")
    score = rows(tmp_path / "run")[2]["memory"]
    vlad(*args, "--resume")
    assert rows(tmp_path / "run")[2]["memory"] != score


def test_verdicts_of_another_threshold_are_not_those_of_a_finished_run(
    vlad, images, tmp_path, monkeypatch
):
    args = (images, "--head", "memory", "--normal", images / "0.png", "--out", tmp_path / "run")
    assert vlad(*args, "--threshold", 0.1).exit_code == 0
    read_finished(tmp_path / "run")

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "write_overlays", stopped)
    assert vlad(*args, "--threshold", 0.2, "--resume").exit_code != 0
    with pytest.raises(InputError, match="is not finished"):
        read_finished(tmp_path / "run")


def test_a_held_out_image_that_was_replaced_is_scored_again(vlad, images, drawn, tmp_path):
    normals = tmp_path / "normals"
    normals.mkdir()
    for i in range(12):
        drawn[i % 3].rotate(i).save(normals / f"{i}.png")
    args = (images, "--head", "memory", "--normal", normals, "--k-shot", 1)
    args += ("--threshold", "auto", "--false-alarms", 0.2, "--out", tmp_path / "run")
    assert vlad(*args).exit_code == 0
    references = json.loads((tmp_path / "run" / "run.json").read_text())["references"]
    kept = next(p for p in sorted(normals.iterdir()) if str(p) not in references)
    drawn[5].save(kept)
    assert "1 image changed" in vlad(*args, "--resume").output
