"""vlad watch through its entry point: images that come slowly, restarts, and how it stops."""

from __future__ import annotations

import os
import re
import signal

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image
from watching import rows, until

from vlad.cli import main


def stop(process, how=signal.SIGTERM) -> str:
    process.send_signal(how)
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return said


def test_images_are_scored_as_they_arrive_and_once(watcher, images, source, tmp_path):
    out = tmp_path / "run"
    whole, other = ((images / f"{i}.png").read_bytes() for i in (4, 5))
    (source / "0.png").write_bytes((images / "0.png").read_bytes())
    first = watcher("--threshold", "0.01")
    until(lambda: len(rows(out)) == 1, first)

    # files that are renamed into place, beside their unfinished names
    for count, name, content in ((2, "late", whole), (3, "other", other)):
        (source / f"{name}.part").write_bytes(content)
        (source / f"{name}.part").rename(source / f"{name}.png")
        until(lambda count=count: len(rows(out)) == count, first)
    (source / "notes.txt").write_text("no image")
    (source / "bad.png").write_bytes(whole[:200])
    until(lambda: len(rows(out)) == 4, first)
    found = {os.path.basename(row["path"]): row for row in rows(out)}
    assert list(found) == ["0.png", "late.png", "other.png", "bad.png"]
    assert [bool(row["error"]) for row in found.values()] == [False, False, False, True]
    verdicts = [row["memory_verdict"] for row in found.values()]
    assert verdicts == ["normal", "anomalous", "anomalous", ""]

    said = ""
    for line in first.stdout:  # what is said of an image follows its row
        said += line
        if "bad.png" in line:
            break
    first.kill()
    assert "late.png: memory 0." in said and "anomalous" in said and "bad.png: cannot read" in said

    # while it is away: a new image, and the bad one is repaired
    (source / "new.png").write_bytes((images / "1.png").read_bytes())
    (source / "bad.png").write_bytes(whole)
    again = watcher("--threshold", "0.01")
    until(lambda: len(rows(out)) >= 6, again)
    said = stop(again)
    assert "5 images scored, 0 failed" in said
    assert "late.png" not in said and "bad.png: memory" in said
    table = pq.read_table(out / "scores.parquet").to_pydict()
    assert sorted(map(os.path.basename, table["path"])) == [
        "0.png", "bad.png", "late.png", "new.png", "other.png",
    ]  # fmt: skip
    kept = {os.path.basename(row["path"]): row for row in rows(out)}
    times = [row["time"] for row in kept.values()]
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", x) for x in times)
    assert kept["late.png"] == found["late.png"]
    assert kept["bad.png"]["memory"] == kept["late.png"]["memory"]

    # the report of what is there, by the same options; nothing is scored again
    before = {path: path.stat().st_mtime_ns for path in (out / "maps").rglob("*.png")}
    assert len(before) == 5
    done = watcher("--threshold", "0.01", "--resume", verb="score")
    assert "5 images scored" in done.communicate()[0]
    assert done.returncode == 0 and (out / "report.html").is_file()
    assert before == {path: path.stat().st_mtime_ns for path in (out / "maps").rglob("*.png")}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_behind_the_image_in_flight(watcher, images, source, tmp_path, how):
    out = tmp_path / "run"
    for i in range(300):
        os.link(images / f"{i % 6}.png", source / f"{i:03}.png")
    process = watcher("--batch-size", 1)
    until(lambda: len(rows(out)) > 2, process)
    said = stop(process, how)
    done = rows(out)
    assert 2 < len(done) < 300
    assert said.splitlines()[-1].startswith(f"Stopped: {len(done)} images scored, 0 failed")
    for row in done:
        assert (out / "maps" / "memory" / os.path.basename(row["path"])).is_file()


def test_a_name_of_any_bytes_is_one_line(watcher, images, source, tmp_path, run_env):
    out = tmp_path / "run"
    run_env["PYTHONIOENCODING"] = "utf-8:strict"  # as in most countries
    for i, name in enumerate(["caf\udce9.png", "two\nlines.png", "\x1b[31m.png", "z.png"]):
        os.link(images / f"{i}.png", source / name)
    process = watcher("--batch-size", 1)
    until(lambda: len(rows(out)) == 4, process)
    said = stop(process).splitlines()[1:-1]
    shown = ["\\x1b[31m.png", "caf\\udce9.png", "two\\nlines.png", "z.png"]
    assert sorted(os.path.basename(line.split(":")[0]) for line in said) == shown


def test_the_nearest_known_kind_is_told_and_kept(watcher, images, source, tmp_path):
    known = tmp_path / "known"
    for folder in ("dent", "ground_truth/dent"):
        (known / folder).mkdir(parents=True)
    image = Image.open(images / "5.png")
    image.save(known / "dent" / "0.png")
    Image.new("L", image.size, 255).save(known / "ground_truth" / "dent" / "0.png")
    os.link(images / "0.png", source / "good.png")
    os.link(images / "5.png", source / "other.png")
    process = watcher("--head", "labelled", "--known-defects", known, "--threshold", "0.01")
    until(lambda: len(rows(tmp_path / "run")) == 2, process)
    said = stop(process)
    assert re.search(r"other.png: labelled \S+ anomalous \(dent\)$", said, re.MULTILINE)
    assert re.search(r"good.png: labelled \S+ normal$", said, re.MULTILINE)
    found = {os.path.basename(row["path"]): row["labelled_kind"] for row in rows(tmp_path / "run")}
    assert found == {"good.png": "", "other.png": "dent"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["NOWHERE", "--category", "nut"], "no folder"),
        (["IMAGES", "--head", "musc"], "--pool"),
        (["IMAGES", "--category", "nut", "--out", "IMAGES"], "is inside the output folder"),
        (
            ["IMAGES", "--category", "nut", "--threshold", "auto"],
            "needs 19 held-out normal images",
        ),
        (["IMAGES", "--category", "nut", "--pool", "IMAGES"], "leave --pool out"),
    ],
)
def test_what_cannot_be_watched_is_one_sentence(images, tmp_path, small_file, args, words):
    named = [{"IMAGES": str(images), "NOWHERE": str(tmp_path / "no")}.get(a, a) for a in args]
    options = ["--backbone", str(small_file), "--device", "cpu", "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(main, ["watch", *options, *named])
    assert done.exit_code == 2
    assert words in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("run.json"))
