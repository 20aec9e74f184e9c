"""One row for each path, however a run is continued."""

import errno
import io
import os
import pickle
import re
import uuid
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from vlad.calibration import load_calibration
from vlad.cli import main
from vlad.errors import InputError
from vlad.results.finished import read_finished
from vlad.results.partitions.files import place, read
from vlad.results.partitions.folder import MARK, mark_of
from vlad.results.rows import State
from vlad.runs.ray import engine, parts, worker


@pytest.fixture
def at(monkeypatch):
    """Sets the day in November 2026, by the clock of a zone that is 14 hours ahead of UTC."""

    def tell(day: int) -> None:
        now = datetime(2026, 11, day, 13, 30, tzinfo=timezone(timedelta(hours=14)))

        class Clock(datetime):
            @classmethod
            def now(cls, tz=None):
                return now.astimezone(tz) if tz else now.replace(tzinfo=None)

        monkeypatch.setattr(engine, "datetime", Clock)

    return tell


@pytest.fixture(params=["folder", "bucket"])
def out(request, tmp_path):
    return str(tmp_path / "run") if request.param == "folder" else f"memory://{uuid.uuid4().hex}/r"


@pytest.fixture
def vlad(in_process, images, small_file, tmp_path, out):
    normal = tmp_path / "normal.png"
    normal.write_bytes((images / "0.png").read_bytes())

    def run(source, *more, code=0) -> str:
        options = ["--normal", normal, "--head", "memory", "--engine", "ray", "--workers", 1]
        options += ["--backbone", small_file, "--device", "cpu", "--out", out]
        done = CliRunner().invoke(main, ["score", *map(str, [source, *options, *more])])
        assert done.exit_code == code, done.output
        return done.output

    return run


def rows(out) -> dict[str, dict]:
    where, found = place(out), {}
    for name in where.parts():
        for row in read(where, [name], lambda column: True)[0].to_pylist():
            assert row["path"] not in found
            found[row["path"]] = row | {"part": name, "day": name[20:22]}
    return found


def table(file, images, names, **columns):
    pq.write_table(pa.table({"path": [str(images / name) for name in names], **columns}), file)
    return file


def test_a_changed_image_has_its_row_on_another_day(vlad, at, out, images):
    (images / "bad.png").write_bytes(b"no image")
    at(29)
    vlad(images)
    first = rows(out)
    assert len(first) == 7 and {row["day"] for row in first.values()} == {"28"}  # that of UTC
    assert len(place(out).parts()) == 4  # so that workers end at about the same time
    (images / "2.png").write_bytes((images / "5.png").read_bytes())
    (images / "new.png").write_bytes((images / "5.png").read_bytes())
    (images / "bad.png").write_bytes((images / "5.png").read_bytes())
    (images / "4.png").unlink()  # its row stays
    at(30)
    said = vlad(images, "--resume")
    assert "3 images scored:" in said and "2 images changed" in said
    second = rows(out)
    later = {str(images / f"{name}.png") for name in ("2", "new", "bad")}
    assert later == {path for path, row in second.items() if row["day"] == "29"}
    assert len({second[path]["memory"] for path in later}) == 1
    assert second.keys() == first.keys() | later
    assert all(second[path] == first[path] | {"part": second[path]["part"]}
               for path in first.keys() - later)  # fmt: skip
    assert "0 images scored" in vlad(images, "--resume")


def test_what_is_outside_the_list_stays_and_what_could_not_be_read_is_tried_again(
    vlad, at, out, images, tmp_path
):
    at(29)
    vlad(images)
    before = rows(out)
    (images / "0.png").write_bytes((images / "5.png").read_bytes())  # not in the next list
    missing = table(tmp_path / "list.parquet", images, ["1.png", "later.png"])
    at(30)
    assert "0 images scored, 1 failed" in vlad(missing, "--resume")
    late = str(images / "later.png")
    assert rows(out).keys() == before.keys() | {late} and "such file" in rows(out)[late]["error"]
    assert rows(out)[str(images / "0.png")] == before[str(images / "0.png")]
    assert "0 images scored, 1 failed" in vlad(missing, "--resume")
    listed = table(tmp_path / "other.parquet", images, ["2.png"])
    assert "0 images scored:" in vlad(listed, "--resume") and late in rows(out)
    (images / "later.png").write_bytes((images / "5.png").read_bytes())
    assert "1 image scored:" in vlad(missing, "--resume")
    found = rows(out)
    assert found[late]["error"] is None and len(found) == 7
    # nor is a partition left that holds no row any more
    assert len(place(out).parts()) == len({row["part"] for row in found.values()})


@pytest.mark.parametrize("out", ["folder"], indirect=True)
@pytest.mark.parametrize(
    ("number", "when", "again"),
    [
        (errno.EACCES, "opened", True),
        (errno.EIO, "opened", True),
        (errno.EIO, "read", True),
        (errno.EINVAL, "read", False),  # a damaged file that names a place before its start
    ],
)
def test_a_file_that_cannot_be_opened_is_tried_again_unlike_a_damaged_one(
    vlad, out, images, monkeypatch, number, when, again
):
    opens = Path.open

    class Broken(io.BytesIO):
        def read(self, *size):
            raise OSError(number, "broken")

    def opened(path, *args, **options):
        if path.name != "1.png":
            return opens(path, *args, **options)
        if when == "opened":
            raise OSError(number, "broken")
        return Broken(b"bytes")

    (images / "bad.png").write_bytes(b"no image")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        assert "5 images scored, 2 failed" in vlad(images)
        assert f"0 images scored{', 1 failed' * again}" in vlad(images, "--resume")
    assert f"{int(again)} image{'s' * (not again)} scored:" in vlad(images, "--resume")
    found = rows(out)
    assert len(found) == 7 and (found[str(images / "1.png")]["error"] is None) == again


def test_times_in_a_table_of_files_are_not_those_of_the_files(vlad, out, images, tmp_path):
    names = [f"{i}.png" for i in range(6)]
    listed = table(tmp_path / "list.parquet", images, names, size=[1] * 6, modified=[10**18] * 6)
    assert "6 images scored" in vlad(listed)
    assert "0 images scored" in vlad(listed, "--resume")


@pytest.mark.parametrize("out", ["folder"], indirect=True)
def test_partitions_of_an_earlier_vlad_count(vlad, out, images):
    vlad(images)
    first = rows(out)
    path = str(images / "0.png")
    for file in place(out).at.rglob("part-*.parquet"):
        file.unlink()
    old = pa.table({"path": [path], "memory": [7.0], "error": pa.array([None], pa.string())})
    pq.write_table(old, os.path.join(out, "part-0.parquet"))
    assert "5 images scored" in vlad(images, "--resume")
    second = rows(out)
    assert second.keys() == first.keys() and second[path]["memory"] == 7
    assert "6 images scored" in vlad(images, "--overwrite")
    assert rows(out)[path]["memory"] == first[path]["memory"]


@pytest.mark.parametrize("at_part", range(4))
def test_a_command_that_is_killed_loses_no_path(vlad, out, images, monkeypatch, at_part):
    monkeypatch.setattr(engine, "PARTITION", 2)
    vlad(images)
    for name in ("1", "2", "4"):
        (images / f"{name}.png").write_bytes((images / "5.png").read_bytes())
    kind, left = type(place(out)), [at_part]
    finish = kind.finish

    def killed(*args):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        finish(*args)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "finish", killed)
        with pytest.raises(AssertionError, match="Stopped"):
            vlad(images, "--resume")
    assert place(out).unfinished()
    rows(out)
    vlad(images, "--resume")
    found = rows(out)
    assert len(found) == 6
    assert len({found[str(images / f"{name}.png")]["memory"] for name in "1245"}) == 1


def test_images_that_kill_their_workers_are_not_tried_for_ever(vlad, out, images, monkeypatch):
    died, scores, takes = [], worker.score_samples, worker.Scorer.__call__

    class Died(BaseException):
        pass

    def score(panel, samples, **options):
        if any(sample.path.endswith("3.png") for sample in samples):
            died.append(samples)
            raise Died
        return scores(panel, samples, **options)

    def take(self, block):  # as Ray Data does
        while True:
            with suppress(Died):
                return takes(self, block)

    monkeypatch.setattr(worker, "score_samples", score)
    monkeypatch.setattr(worker.Scorer, "__call__", take)
    said = vlad(images, code=2)
    assert len(died) == 4
    assert re.search("4 workers died over the same 2 images, from .*2.png to .*3.png", said)
    assert len(rows(out)) == 2  # of the partition before
    (images / "3.png").unlink()
    assert "3 images scored:" in vlad(images, "--resume")


@pytest.mark.parametrize("columns", [{"id": ["a"]}, {"path": [["a"]]}])
def test_a_partition_of_another_program_stops_before_anything_changes(vlad, out, images, columns):
    vlad(images)
    before, where = rows(out), place(out)
    foreign = "scores/date=2026-11-28/part-0.parquet"
    with where.writing() as folder:
        where.write(folder, foreign, pa.table(columns))
        where.finish(folder, foreign)
    (images / "2.png").write_bytes((images / "5.png").read_bytes())
    with pytest.raises(AssertionError, match=f"{foreign} is no partition of this run"):
        vlad(images, "--resume")
    where.remove(foreign)
    assert rows(out) == before
    assert "1 image scored:" in vlad(images, "--resume")


def test_later_commands_may_name_other_categories(vlad, out, images, tmp_path):
    bottle = table(tmp_path / "a.parquet", images, ["1.png"], category=["bottle"])
    cable = table(tmp_path / "b.parquet", images, ["2.png"], category=["cable"])
    vlad(bottle, "--head", "winclip")
    assert "1 image scored:" in vlad(cable, "--head", "winclip", "--resume")
    assert "0 images scored:" in vlad(bottle, "--head", "winclip", "--resume")
    assert len(read_finished(out).scores["winclip"]) == 2
    where = place(out)
    settings = where.run.settings(where.at)
    assert settings["prompts"]["winclip"].keys() == {"bottle", "cable"}
    settings["prompts"]["winclip"]["cable"] = "0"  # of other sentences
    where.run.begin(where.at, settings)
    assert "0 images scored:" in vlad(bottle, "--head", "winclip", "--resume")
    with pytest.raises(AssertionError, match=r"other settings \(prompts.winclip.cable: 0"):
        vlad(cable, "--head", "winclip", "--resume")


def test_a_partition_that_another_run_wrote_is_refused(vlad, out, images):
    vlad(images)
    where = place(out)
    (other,) = read(where, where.parts()[:1], lambda column: True)
    (images / "2.png").write_bytes((images / "5.png").read_bytes())
    vlad(images, "--resume")  # writes a partition without its row again
    (settings, tables) = where.run.settings(where.at), read(where, where.parts(), bool)
    assert {table.schema.metadata[MARK] for table in tables} == {mark_of(settings)}
    assert mark_of(settings | {"prompts": {"memory": {}}}) == mark_of(settings)

    vlad(images, "--overwrite", "--seed", "3")
    name = "scores/date=2026-11-01/part-0.parquet"
    with where.writing() as folder:
        where.write(folder, name, other)
        where.finish(folder, name)
    with pytest.raises(InputError, match=f"{name} is no .*another run wrote it"):
        read_finished(out)
    with pytest.raises(AssertionError, match=f"{name} is no .*another run wrote it"):
        vlad(images, "--resume", "--seed", "3")


def test_thresholds_and_drift_stay_with_a_run_until_it_is_overwritten(vlad, out, images, tmp_path):
    vlad(images)
    line = str(tmp_path / "line.json")
    done = CliRunner().invoke(main, ["calibrate", out, "--false-alarms", "0.3", "--out", line])
    assert done.exit_code == 0 and "from 5 normal images" in done.output, done.output
    assert "too few images to compare" in vlad(images, "--overwrite", "--calibration", line)
    made = load_calibration(line)
    assert read_finished(out).thresholds == made.thresholds
    assert read_finished(out).verdicts["memory"]
    where = place(out)
    assert {"calibration.json", "drift.json"} <= {*where.run.names(where.at)}
    assert "Drift" not in vlad(images, "--resume", "--calibration", line)
    vlad(images, "--overwrite")
    assert not {"calibration.json", "drift.json"} & {*where.run.names(where.at)}
    assert read_finished(out).verdicts == {}


def test_a_drift_of_an_earlier_command_does_not_stand_beside_newer_rows(
    vlad, out, images, tmp_path, monkeypatch
):
    vlad(images)
    line, where = str(tmp_path / "line.json"), place(out)
    done = CliRunner().invoke(main, ["calibrate", out, "--false-alarms", "0.3", "--out", line])
    assert done.exit_code == 0, done.output
    vlad(images, "--overwrite", "--calibration", line)
    (images / "2.png").write_bytes((images / "5.png").read_bytes())

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(engine, "write_drift", killed)
        with pytest.raises(AssertionError, match="Stopped"):
            vlad(images, "--resume", "--calibration", line)
    assert where.unfinished() and "drift.json" not in where.run.names(where.at)


@pytest.mark.parametrize("out", ["folder"], indirect=True)
def test_files_outside_the_list_are_not_looked_at(vlad, images, tmp_path, monkeypatch):
    vlad(images)
    seen = []
    looks = State.of
    monkeypatch.setattr(parts.State, "of", lambda path: seen.append(str(path)) or looks(path))
    vlad(table(tmp_path / "list.parquet", images, ["2.png"]), "--resume")
    assert [path for path in seen if path.startswith(str(images))] == [str(images / "2.png")]


def test_workers_compute_on_the_kind_of_device_of_the_command(vlad, images, monkeypatch):
    sent = []
    monkeypatch.setattr("ray.put", lambda job: sent.append(job) or pickle.dumps(job))
    vlad(images, "--device", "cpu:0")  # numbers are another worker's
    assert [job.settings.setup.device for job in sent] == ["cpu"]


def test_a_run_that_exists_is_refused_before_anything_is_listed(vlad, images, monkeypatch):
    vlad(images)
    monkeypatch.setattr("vlad.runs.ray.paths.list_images", None)
    assert "--resume" in vlad(images, code=2)


@pytest.mark.parametrize("more", [["--threshold", "0.1"], ["--seed", "3"], ["--image-size", "96"]])
@pytest.mark.parametrize("out", ["bucket"], indirect=True)
def test_other_settings_are_refused(vlad, out, images, more):
    vlad(images)
    before = rows(out)
    with pytest.raises(AssertionError, match="other settings"):
        vlad(images, "--resume", *more)
    assert rows(out) == before


def test_exit_codes_are_those_of_the_images_of_the_command(vlad, images, tmp_path):
    (images / "bad.png").write_bytes(b"no image")
    vlad(images, "--fail", code=1)
    vlad(images, "--fail", "--resume", code=1)  # a damaged image keeps its row
    vlad(table(tmp_path / "list.parquet", images, ["1.png"]), "--fail", "--resume")
    judged = ("--threshold", "0.01", "--fail-on", "anomalous")
    vlad(images, *judged, "--overwrite", code=1)
    vlad(table(tmp_path / "list.parquet", images, ["0.png"]), *judged, "--resume")
    vlad(table(tmp_path / "list.parquet", images, ["5.png"]), *judged, "--resume", code=1)
