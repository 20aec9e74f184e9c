"""The Ray engine: two workers, the same results, one row for each path."""

from __future__ import annotations

import csv
import logging
import re
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.dataset as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from vlad.cli import main

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def session():
    """Ray on this machine, once for all tests here."""
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.setenv("RAY_worker_niceness", "0")
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()
    patch.undo()


@pytest.fixture
def vlad(small_file):
    def run(*args):
        options = ["--backbone", str(small_file), "--device", "cpu"]
        return CliRunner().invoke(main, ["score", *map(str, args), *options])

    return run


def written(out) -> list[dict]:
    return pd.dataset(out / "scores", partitioning="hive").to_table().to_pylist()


def test_results_are_those_of_the_local_engine_and_each_path_has_one_row(
    session, vlad, images, tmp_path
):
    (images / "bad.png").write_text("no image")
    pool = [x for i in range(4) for x in ("--pool", images / f"{i}.png")]
    options = ["--normal", images / "0.png", "--head", "memory,musc", *pool, "--batch-size", 1]
    assert vlad(images, *options, "--maps", "none", "--out", tmp_path / "local").exit_code == 0
    with open(tmp_path / "local" / "scores.csv", newline="") as file:
        local = {row["path"]: row for row in csv.DictReader(file)}

    out = tmp_path / "run"
    options += ["--engine", "ray", "--workers", 2, "--out", out]
    pq.write_table(pa.table({"path": ["5.png", "bad.png", "5.png"]}), images / "list.parquet")
    done = vlad(images / "list.parquet", *options)
    assert done.exit_code == 0, done.output
    assert "1 image scored, 1 failed" in done.output
    first = {part: part.stat().st_mtime_ns for part in out.rglob("part-*.parquet")}
    assert vlad(images, *options).exit_code == 2
    done = vlad(images, *options, "--resume")
    assert done.exit_code == 0, done.output
    assert "5 images scored" in done.output
    assert first.items() <= {p: p.stat().st_mtime_ns for p in out.rglob("part-*.parquet")}.items()

    rows = written(out)
    assert sorted(row["path"] for row in rows) == sorted(local)
    for row in rows:
        expected = local[row["path"]]
        assert (row["error"] or "") == expected["error"]
        for head in ("memory", "musc"):
            if row["error"]:
                assert row[head] is None
            else:
                assert row[head] == pytest.approx(float(expected[head]), abs=1e-6)
    done = vlad(images, *options, "--resume", "--category", "other")
    assert done.exit_code == 2 and "other settings" in done.stderr


def test_verdicts_stand_in_the_rows_of_a_bucket(session, vlad, images, tmp_path):
    out = tmp_path / "run"
    options = ["--normal", images / "0.png", "--threshold", 0.01, "--engine", "ray"]
    options += ["--workers", 1, "--out", out]
    done = vlad(images.as_uri(), *options)
    assert done.exit_code == 0, done.output
    done = vlad(images.as_uri(), *options, "--resume", "--fail-on", "anomalous")
    assert done.exit_code == 1, done.output
    verdicts = {Path(row["path"]).name: row["memory_verdict"] for row in written(out)}
    assert verdicts["0.png"] == "normal" and verdicts["5.png"] == "anomalous"
    assert all("://" in row["path"] for row in written(out))


def test_the_nearest_known_kind_stands_in_the_rows(session, vlad, images, tmp_path):
    known, out = tmp_path / "known", tmp_path / "run"
    for folder in ("dent", "ground_truth/dent"):
        (known / folder).mkdir(parents=True)
    image = Image.open(images / "5.png")
    image.save(known / "dent" / "0.png")
    Image.new("L", image.size, 255).save(known / "ground_truth" / "dent" / "0.png")
    (images / "bad.png").write_text("no image")
    options = ["--normal", images / "0.png", "--head", "labelled", "--known-defects", known]
    done = vlad(images, *options, "--engine", "ray", "--workers", 1, "--out", out)
    assert done.exit_code == 0, done.output
    kinds = {Path(row["path"]).name: row["labelled_kind"] for row in written(out)}
    assert (kinds["0.png"], kinds["5.png"], kinds["bad.png"]) == ("", "dent", None)


def test_a_coreset_of_two_shards_is_made_by_two_workers(
    session, images, small_file, small_backbone, tmp_path
):
    from vlad.datasets import list_samples
    from vlad.heads.memory import Memory
    from vlad.images import read_image
    from vlad.results.partitions.folder import Folder
    from vlad.runs.ray.engine import fit
    from vlad.runs.ray.worker import Job
    from vlad.runs.settings import Settings
    from vlad.scoring.panel import Panel
    from vlad.scoring.setup import Setup

    samples = list_samples([images])[:4]
    head = Memory(coreset=0.25)
    settings = Settings(Setup(str(small_file), "cpu"), references=samples)
    job = Job({"memory": head}, settings, Folder(tmp_path))
    fit(small_backbone, job, [None], workers=2)
    parts = []
    for shard in (samples[0::2], samples[1::2]):
        part = copy(Memory(coreset=0.5))
        Panel(small_backbone, {"m": part}).fit(read_image(s.path) for s in shard)
        parts.append(part)
    expected = Memory(coreset=0.25).fit_union(parts)
    assert {name: len(x) for name, x in head.memory_.items()} == {"1": 16, "2": 16, "3": 16}
    for name, rows in head.memory_.items():
        assert (rows - expected.memory_[name]).abs().max() < 1e-5


@pytest.mark.parametrize(("device", "gpus"), [("cuda", 1), ("cpu", 0)])
def test_a_coreset_is_made_where_the_backbone_computes(monkeypatch, tmp_path, device, gpus):
    from vlad.heads.memory import Memory
    from vlad.results.partitions.folder import Folder
    from vlad.runs.ray import engine
    from vlad.runs.ray.worker import Job
    from vlad.runs.settings import Settings
    from vlad.scoring.setup import Setup
    from vlad.types import Sample

    asked = []

    class Shard:
        def options(self, **options):
            asked.append(options)
            return self

        def remote(self, job, shard, count):
            return {"memory": Memory()}

    monkeypatch.setattr(engine, "_fit_shard", Shard())
    monkeypatch.setattr(engine, "prepare", lambda *args: None)
    monkeypatch.setattr("ray.get", list)
    for name in ("to", "fit_union"):
        monkeypatch.setattr(Memory, name, lambda head, given: head)
    settings = Settings(Setup("tiny"), references=[Sample("a.png", ""), Sample("b.png", "")])
    job = Job({"memory": Memory(coreset=0.5)}, settings, Folder(tmp_path))
    engine.fit(SimpleNamespace(device=SimpleNamespace(type=device)), job, [None], workers=2)
    assert asked == [{"num_gpus": gpus}]


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_later(
    session, vlad, images, tmp_path, monkeypatch
):
    @contextmanager
    def nowhere(out):
        yield "gone"  # what a worker writes there fails

    out = tmp_path / "run"
    command = (images, "--normal", images / "0.png", "--engine", "ray", "--out", out)
    with monkeypatch.context() as patch:
        patch.setattr("vlad.results.partitions.folder.Folder.writing", nowhere)
        done = vlad(*command, "--workers", 1)
    assert done.exit_code == 2
    assert re.search("Error: .*cannot write .*--resume", done.stderr)
    assert not list(out.rglob("part-*"))
    done = vlad(*command, "--workers", 2, "--resume")
    assert done.exit_code == 0 and len(written(out)) == 6


def test_a_reference_that_a_worker_cannot_read_is_one_sentence(session, vlad, images, tmp_path):
    (images / "1.png").write_text("no image")
    done = vlad(
        images, "--normal", images, "--param", "memory.coreset=0.5", "--engine", "ray",
        "--workers", 2, "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.exit_code == 2
    assert re.search("Error: cannot read .*1.png: it is not a supported image", done.stderr)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--engine", "ray", "--maps", "png"], "writes only scores"),
        (["--engine", "ray", "--threshold", "0.5", "--min-area", "3"], "Regions are found in maps"),
        (["--workers", "2"], "--engine ray"),
    ],
)
def test_options_without_a_meaning_are_refused(vlad, images, tmp_path, args, words):
    done = vlad(images, "--category", "nut", *args, "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert words in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_local_engine_writes_to_no_url(vlad, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = vlad(images, "--category", "nut", "--out", "s3://bucket/run")
    assert done.exit_code == 2 and "Only --engine ray writes to a URL" in done.stderr
    assert list(tmp_path.iterdir()) == [images]


def test_a_ray_that_does_not_start_is_one_sentence(vlad, images, tmp_path, monkeypatch):
    def fail(**options):
        raise Exception("The current node timed out\nduring startup.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    done = vlad(images, "--normal", images / "0.png", "--engine", "ray", "--out", tmp_path)
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    assert "Ray cannot be started" in done.stderr


@pytest.mark.parametrize("content", ["{", "[]", '{"kind": "a run"}'])
def test_a_folder_of_something_else_is_left_alone(session, vlad, images, tmp_path, content):
    out = tmp_path / "run"
    out.mkdir()
    (out / "run.json").write_text(content)
    for more in ([], ["--resume"], ["--overwrite"]):
        done = vlad(images, "--category", "nut", "--engine", "ray", "--out", out, *more)
        assert done.exit_code == 2
        assert "choose another folder" in done.stderr
    assert (out / "run.json").read_text() == content


def test_partitions_of_another_program_are_no_run(session, vlad, images, tmp_path):
    listed = tmp_path / "part-00000.parquet"
    pq.write_table(pa.table({"path": [str(images / "0.png")]}), listed)
    before = listed.read_bytes()
    for more in ([], ["--resume"], ["--overwrite"]):
        done = vlad(listed, "--category", "nut", "--engine", "ray", "--out", tmp_path, *more)
        assert done.exit_code == 2
        assert "part-00000.parquet" in done.stderr and "choose another folder" in done.stderr
    assert listed.read_bytes() == before


def test_a_normal_image_with_a_name_of_any_bytes(session, vlad, images, tmp_path):
    good = tmp_path / "caf\udce9.png"
    (images / "0.png").rename(good)
    command = (images, "--normal", good, "--engine", "ray", "--workers", 1, "--out")
    for more in ([], ["--resume"]):
        done = vlad(*command, tmp_path / "run", *more)
        assert done.exit_code == 0, done.output
    assert len(written(tmp_path / "run")) == 5


def test_images_against_each_other_are_refused(session, vlad, images, tmp_path):
    done = vlad(images, "--head", "musc", "--engine", "ray", "--out", tmp_path / "run")
    assert done.exit_code == 2 and "--pool" in done.stderr


HEAD = """
from threading import Lock
from vlad.heads import Head
from vlad.types import FeatureSpec, Scores

class Brightness(Head):
    map_range = (-100.0, 100.0)

    def spec(self, backbone):
        return FeatureSpec(layers=(1,), image=False)

    def score(self, features, text=None):
        score = features.patches[1][..., 0].mean(dim=1)
        return Scores(score, score[:, None, None].expand(-1, *features.size))

class Locked(Brightness):
    def __init__(self):
        self.lock_ = Lock()
"""


def test_a_head_from_a_file_is_sent_to_workers_or_refused(session, vlad, images, tmp_path):
    file = tmp_path / "my_head.py"
    file.write_text(HEAD)
    options = ["--engine", "ray", "--workers", 1]
    done = vlad(images, "--head", f"{file}:Brightness", "--out", tmp_path / "run", *options)
    assert done.exit_code == 0, done.output
    assert len({row["brightness"] for row in written(tmp_path / "run")}) == 6
    done = vlad(images, "--head", f"{file}:Locked", "--out", tmp_path / "other", *options)
    assert done.exit_code == 2
    assert "Heads locked cannot be sent to workers (cannot pickle" in done.output


def test_a_replaced_image_is_scored_again_in_place_of_its_row(session, vlad, images, tmp_path):
    options = ["--head", "memory", "--normal", images / "0.png", "--out", tmp_path / "out"]
    options += ["--engine", "ray", "--workers", 2]
    assert vlad(images, *options).exit_code == 0
    before = {row["path"]: row["memory"] for row in written(tmp_path / "out")}
    (images / "2.png").write_bytes((images / "5.png").read_bytes())
    done = vlad(images, *options, "--resume")
    assert done.exit_code == 0, done.output
    after = {row["path"]: row["memory"] for row in written(tmp_path / "out")}
    assert len(written(tmp_path / "out")) == len(before) == len(after)
    path, other = (next(p for p in before if p.endswith(f"{i}.png")) for i in (2, 5))
    assert after[path] == pytest.approx(before[other], abs=1e-5) != before[path]
