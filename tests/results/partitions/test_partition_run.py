"""Runs of Ray read back by the commands that read finished runs."""

import csv
import json
import os
import re
import uuid

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from vlad.calibration import Calibration, load_calibration
from vlad.calibration.file import calibration_bytes
from vlad.cli import main
from vlad.results.finished import read_finished
from vlad.results.folder import RunFolder
from vlad.results.partitions import columns
from vlad.results.partitions.files import place
from vlad.results.rows import Row, State

SETTINGS = {"backbone": "tiny", "weights": "1f", "params": {"memory": {"top": 0.01}}}
DAYS = ("scores/date=2026-11-29", "scores/date=2026-11-30")
THRESHOLD = 0.5


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(40):
        pixels = random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40, 40)).save(folder / f"{i:02}.png")
    return sorted(folder.iterdir())


def part(paths, scores, judged=True, **more):
    """A partition as a worker writes it; None stands for an image that failed."""
    states = [State.of(path) for path in paths]
    table = {"path": [str(path) for path in paths], "memory": pa.array(scores, pa.float64())}
    if judged:
        words = [s if s is None else "anomalous" if s > THRESHOLD else "normal" for s in scores]
        table["memory_p_value"] = pa.nulls(len(scores), pa.float64())
        table["memory_verdict"] = pa.array(words, pa.string())
        table["memory_abstain"] = pa.array([None if s is None else False for s in scores])
        table["memory_severity"] = pa.array([None if s is None else 0 for s in scores], pa.int64())
    table["size"] = pa.array([state and state.size for state in states], pa.int64())
    table["modified"] = pa.array([state and state.modified for state in states], pa.int64())
    errors = ["broken" if score is None else None for score in scores]
    return pa.table({**table, "error": pa.array(errors, pa.string()), **more})


def ray_run(out, parts, judged=True):
    """A run of these partitions: name -> table."""
    where = place(str(out))
    if "://" not in str(out):
        os.makedirs(out)
    where.run.begin(where.at, SETTINGS | ({"calibration": "1f"} if judged else {}))
    if judged:
        made = Calibration.fixed("memory", THRESHOLD)
        where.put("calibration.json", calibration_bytes(made))
    with where.writing() as folder:
        for name, table in parts.items():
            where.write(folder, name, table)
            where.finish(folder, name)
    return str(out)


@pytest.fixture(params=["folder", "bucket"])
def out(request, tmp_path):
    return str(tmp_path / "ray") if request.param == "folder" else f"memory://{uuid.uuid4().hex}/r"


@pytest.fixture
def two_days(out, images):
    scores = [i / 40 for i in range(40)]
    parts = {f"{DAYS[0]}/part-1.parquet": part(images[:20], scores[:20])}
    parts[f"{DAYS[0]}/part-2.parquet"] = part(images[20:39], scores[20:39])
    return ray_run(out, {**parts, f"{DAYS[1]}/part-3.parquet": part(images[39:], [None])})


def vlad(*args, code=0):
    done = CliRunner().invoke(main, list(map(str, args)))
    assert done.exit_code == code, done.output
    return done.output


def test_diff_with_a_local_run_compares_each_image_and_verdict(two_days, images, tmp_path):
    local = RunFolder(tmp_path / "local", {"memory": (0.0, 1.0)}, SETTINGS, "none").create()
    rows = [Row(str(p), {"memory": 1 - i / 40}, None, State.of(p)) for i, p in enumerate(images)]
    local.append(rows)
    local.finish(images)
    said = vlad("diff", two_days, local.out, "--out", tmp_path / "diff")
    assert "No setting differs" in said and "39 images compared; left out: 1 failed in A" in said
    assert re.search(r"memory +39 +-1.000", said) and "B has no verdicts of memory." in said
    with open(tmp_path / "diff" / "diff.csv", newline="") as file:
        found = {row["path"]: row for row in csv.DictReader(file)}
    assert float(found[str(images[3])]["score_a"]) == 3 / 40
    assert found[str(images[30])]["verdict_a"] == "anomalous"
    runs = json.loads((tmp_path / "diff" / "diff.json").read_text())["runs"]
    assert runs == {"A": two_days, "B": str(local.out)}


def test_diff_of_two_runs_shows_what_flipped(two_days, images, tmp_path):
    scores = [i / 40 for i in range(40)]
    scores[2] = 0.9
    other = ray_run(tmp_path / "other", {"part-0.parquet": part(images, scores)})
    images[4].write_bytes(b"changed")
    said = vlad("diff", two_days, other)
    assert "1 normal to anomalous" in said and "1 failed in A" in said
    (tmp_path / "other" / "part-0.parquet").unlink()
    pq.write_table(part(images, scores), tmp_path / "other" / "part-0.parquet")
    assert "1 changed between A and B" in vlad("diff", two_days, other)


def test_review_lists_the_worst_of_the_run_or_of_a_day(two_days, images, tmp_path):
    said = vlad("review", "list", two_days, "--show", 2, "--out", tmp_path / "labels.csv")
    assert [line.split() for line in said.splitlines()[1:3]] == [
        ["0.95", "anomalous", str(images[38])],
        ["0.925", "anomalous", str(images[37])],
    ]
    with open(tmp_path / "labels.csv", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [str(images[38]), str(images[37])]
    assert str(images[38]) in vlad("review", "list", f"{two_days}/{DAYS[0]}/")
    assert "has a score" in vlad("review", "list", f"{two_days}/{DAYS[1]}", code=2)
    said = vlad("review", "list", two_days, "--order", "informative", code=2)
    assert "does not hold how its images look" in said
    assert read_finished(two_days).thresholds == {"memory": THRESHOLD}


def test_a_calibration_on_its_normal_images_or_labels(two_days, images, tmp_path):
    file = tmp_path / "line.json"
    assert "from 39 normal images" in vlad("calibrate", two_days, "--out", file)
    made = load_calibration(file)
    # of 39 images, 40 · 0.05 − 1 = 1 may lie above the threshold
    assert made.thresholds == {"memory": 37 / 40} and made.settings["weights"] == "1f"
    assert len(made.names) == 39 and not made.map_thresholds
    lines = ["path,label", *(f"{path},{int(i > 29)}" for i, path in enumerate(images))]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    said = vlad("calibrate", two_days, "--labels", tmp_path / "labels.csv", "--out", file)
    assert "1 labelled image without a score" in said
    assert 29 / 40 <= load_calibration(file).thresholds["memory"] < 30 / 40


def test_images_in_a_store_are_opened_to_leave_out_copies(images, tmp_path):
    store, key = fsspec.filesystem("memory"), uuid.uuid4().hex
    for file in images:
        store.pipe_file(f"/{key}/{file.name}", file.read_bytes())
    store.pipe_file(f"/{key}/again.png", images[0].read_bytes())
    urls = [f"memory://{key}/{name}" for name in (*(x.name for x in images), "again.png", "no.png")]
    run = ray_run(tmp_path / "ray", {"part-0.parquet": part(urls, [i / 42 for i in range(42)])})
    said = vlad("calibrate", run, "--out", tmp_path / "line.json")
    assert "1 of 42 held-out images is a copy" in said and "(again.png)" in said
    assert "1 of 42 images cannot be opened now" in said
    lines = ["path,label", f"{urls[0]},0", f"{urls[1]},0", f"{urls[2]},1"]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    options = ["--labels", tmp_path / "labels.csv", "--out", tmp_path / "line.json"]
    assert "from 2 normal images" in vlad("calibrate", run, *options)


def test_of_many_images_some_set_the_threshold(two_days, images, tmp_path, monkeypatch):
    monkeypatch.setattr("vlad.results.calibrate.MOST", 20)
    images[0].unlink()
    said = vlad("calibrate", two_days, "--false-alarms", 0.1, "--out", tmp_path / "line.json")
    assert "20 of 39 images were drawn" in said and "from 20 normal images" in said
    # the rate needs so many, of which half may be copies
    said = vlad("calibrate", two_days, "--out", tmp_path / "line.json")
    assert "38 of 39 images were drawn" in said
    suspects = ["--suspects", 2, "--false-alarms", 0.1]
    said = vlad("calibrate", two_days, *suspects, "--out", tmp_path / "line.json")
    assert "drawn" not in said
    monkeypatch.setattr("vlad.results.calibrate.MOST", 39)
    said = vlad("calibrate", two_days, "--out", tmp_path / "line.json")
    assert "drawn" not in said and "1 of 39 images cannot be opened now" in said


def test_of_5001_normal_images_5000_set_the_threshold(tmp_path):
    paths = [f"/none/{i}.png" for i in range(5001)]
    run = ray_run(tmp_path / "ray", {"part-0.parquet": part(paths, np.linspace(0, 1, 5001))})
    said = vlad("calibrate", run, "--out", tmp_path / "line.json")
    assert "5000 of 5001 images were drawn" in said and "5000 of 5000 images cannot" in said


def test_the_row_of_a_later_date_counts_once(out, images):
    parts = {f"{DAYS[1]}/part-1.parquet": part(images[:2], [0.1, 0.2])}
    parts[f"{DAYS[0]}/part-2.parquet"] = part(images[1:3], [0.8, 0.9])
    run = ray_run(out, parts)
    with pytest.warns(UserWarning, match=r"^1 row of .* left out"):
        found = read_finished(run)
    assert found.scores["memory"] == dict(zip(map(str, images[:3]), [0.1, 0.2, 0.9], strict=True))
    assert found.verdicts["memory"][str(images[1])] == "normal"


@pytest.mark.parametrize(
    ("name", "table", "words"),
    [
        ("part-x.parquet", {"id": [1]}, "is no partition of this run (it has the columns id)"),
        ("part-x.parquet", {"path": ["a"], "winclip": [0.1], "error": [None]}, "path, winclip"),
        ("part-x.parquet", {"path": ["a"], "memory": ["b"], "error": [None]}, "no partition"),
        ("part-x.parquet", {"path": [None], "memory": [0.1], "error": [None]}, "without a path"),
        (
            "part-x.parquet",
            {"path": ["a"], "memory": [0.1], "error": [None], "other": [0.1]},
            "no partition",
        ),
        (
            "part-x.parquet",
            {"path": ["a"], "memory": [0.1], "memory_verdict": ["normal"], "error": [None]},
            "no partition",
        ),
        ("other.parquet", {"id": [1]}, None),
    ],
)
def test_foreign_partitions_are_named_or_not_read(two_days, name, table, words):
    where = place(two_days)
    before = read_finished(two_days).scores
    with where.writing() as folder:
        where.write(folder, f"{DAYS[0]}/{name}", pa.table(table))
        where.finish(folder, f"{DAYS[0]}/{name}")
    if words is None:
        assert read_finished(two_days).scores == before
        assert f"{DAYS[0]}/{name}" not in where.parts()
    else:
        said = vlad("review", "list", two_days, code=2)
        assert words in said and f"{DAYS[0]}/{name}" in said and "remove it" in said


def test_half_a_partition_and_a_run_that_goes_on_are_one_sentence(two_days):
    where = place(two_days)
    where.put(f"{DAYS[0]}/part-1.parquet", b"PAR1 half of")
    said = vlad("review", "list", two_days, code=2)
    assert "part-1.parquet cannot be read back" in said and "--resume the run" in said
    with where.writing():
        assert "is not finished" in vlad("diff", two_days, two_days, code=2)


@pytest.mark.parametrize("lost", ["partition", "rows"])
def test_a_command_that_begins_while_a_run_is_read_is_one_sentence(two_days, monkeypatch, lost):
    where, reads, name = place(two_days), columns.read, f"{DAYS[0]}/part-1.parquet"

    def meanwhile(*args):
        folder = where.writing().__enter__()
        if lost == "partition":
            where.remove(name)
        else:
            where.write(folder, name, reads(where, [name], lambda column: True)[0].slice(1))
            where.finish(folder, name)
        return reads(*args)

    monkeypatch.setattr(columns, "read", meanwhile)
    said = vlad("review", "list", two_days, code=2)
    assert "is not finished" in said and "cannot be read back" not in said


def test_a_run_that_was_stopped_is_refused_until_it_ends(two_days):
    where = place(two_days)
    with pytest.raises(KeyboardInterrupt), where.writing():
        raise KeyboardInterrupt
    assert "is not finished" in vlad("diff", two_days, two_days, code=2)
    with where.writing():
        pass
    assert "0.95" in vlad("review", "list", two_days)


def test_a_day_is_found_from_within_the_run(tmp_path, images, monkeypatch):
    run = ray_run(tmp_path / "ray", {f"{DAYS[0]}/part-1.parquet": part(images[:1], [0.1])})
    monkeypatch.chdir(run)
    assert images[0].name in vlad("review", "list", DAYS[0])


def test_more_rows_than_fit_in_memory_are_refused(two_days, monkeypatch):
    monkeypatch.setattr(columns, "MOST", 39)
    said = vlad("review", "list", two_days, code=2)
    assert "has more than 39 rows" in said and f"{two_days}/{DAYS[1]}" in said
    assert "0.95" in vlad("review", "list", f"{two_days}/{DAYS[0]}")


def test_five_million_rows_are_read_at_most(tmp_path):
    rows = pa.array(np.zeros(5_000_001, np.int32))
    one = pa.table({"path": ["a"], "memory": [0.5], "error": pa.nulls(1, pa.string())})
    run = ray_run(tmp_path / "ray", {f"{DAYS[0]}/part-0.parquet": one.take(rows)})
    assert "has more than 5,000,000 rows" in vlad("review", "list", run, code=2)


def test_a_run_without_rows_or_without_verdicts(out, images):
    run = ray_run(out, {}, judged=False)
    assert "share no image" in vlad("diff", run, run, code=2)
    assert "has a score" in vlad("review", "list", run, code=2)
    assert "normal images" in vlad("calibrate", run, "--out", "x.json", code=2)
    where = place(run)
    with where.writing() as folder:
        where.write(folder, f"{DAYS[0]}/part-1.parquet", part(images[:2], [0.1, 0.2], False))
        where.finish(folder, f"{DAYS[0]}/part-1.parquet")
    found = read_finished(run)
    assert found.verdicts == found.thresholds == {} and len(found.scores["memory"]) == 2
