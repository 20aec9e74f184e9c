"""A run in an object store: fsspec's store in memory for its rules, moto's S3 for the whole."""

import logging
import pickle
import threading
import uuid

import fsspec
import pyarrow as pa
import pyarrow.dataset as pd
import pytest
from click.testing import CliRunner

from vlad.errors import InputError, OutputError
from vlad.results.partitions.bucket import Bucket
from vlad.results.partitions.files import place, read
from vlad.results.partitions.folder import Folder

ONE = pa.table({"path": ["a.png"]})
NAME = "scores/date=2026-11-29/part-1.parquet"


@pytest.fixture
def bucket():
    return place(f"memory://{uuid.uuid4().hex}/run/")


def test_a_partition_counts_once_the_command_puts_it_in_place(bucket):
    with bucket.writing() as folder:
        bucket.write(folder, NAME, ONE)
        assert bucket.parts() == []
        bucket.finish(folder, NAME)
        assert bucket.parts() == [NAME]
    assert bucket.listed() == [NAME]


def test_the_later_of_two_commands_stops_the_earlier(bucket):
    earlier = bucket.writing().__enter__()
    bucket.write(earlier, NAME, ONE)
    with bucket.writing():
        bucket.write(earlier, NAME, ONE)  # by a worker that outlived its command
        with pytest.raises(OutputError, match="another command"):
            bucket.finish(earlier, NAME)
        assert bucket.parts() == []
    with bucket.writing():
        pass
    assert bucket.listed() == []


def test_a_bucket_of_something_else_is_left_alone(bucket):
    bucket.put("run.json", b"{}")
    for more in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(OutputError, match="choose another folder"):
            bucket.run.check(bucket.at, **more)
    bucket.remove("run.json")
    bucket.run.check(bucket.at)
    bucket.run.begin(bucket.at, {"seed": 1})
    with pytest.raises(OutputError, match="add `resume`"):
        bucket.run.check(bucket.at)
    with pytest.raises(OutputError, match="seed: 1 there, 2 now"):
        bucket.run.continues(bucket.at, {"seed": 2})


def test_settings_may_hold_names_of_any_bytes(bucket):
    settings = {"references": {"caf\udce9.png": "1f"}}
    bucket.run.begin(bucket.at, settings)
    bucket.run.check(bucket.at, resume=True)
    assert bucket.run.continues(bucket.at, settings)


def test_a_store_that_fails_is_one_sentence_and_no_damaged_partition(bucket, monkeypatch):
    def busy(*args, **options):
        raise OSError(16, "Slow Down")

    with bucket.writing() as folder:
        bucket.write(folder, NAME, ONE)
        bucket.finish(folder, NAME)
        for name in ("pipe_file", "cat_file", "cp_file"):
            monkeypatch.setattr(type(bucket.store), name, busy)
        for use in (
            lambda: bucket.write(folder, NAME, ONE),
            lambda: bucket.finish(folder, NAME),
            lambda: read(bucket, [NAME], lambda column: True),
        ):
            with pytest.raises(OutputError, match=r"^cannot use memory://.* with `resume`\.$"):
                use()


def test_workers_receive_it(bucket):
    assert pickle.loads(pickle.dumps(bucket)) == bucket


def test_local_urls_are_folders_and_unknown_stores_are_refused(tmp_path):
    assert place(tmp_path.as_uri()) == place(str(tmp_path)) == Folder(tmp_path)
    with pytest.raises(InputError, match=r"nonsense://a .*fsspec driver"):
        Bucket("nonsense://a")


class Weather:
    """A WSGI application some of whose requests fail.

    Attributes:
        fails: method and path -> whether such a request fails.
        once: only the first time each is asked.
        seen: the requests that failed.
    """

    def __init__(self, inner):
        self.inner, self.lock = inner, threading.Lock()
        self.clear()

    def clear(self):
        self.fails, self.once, self.seen = lambda method, path: False, False, set()

    def __call__(self, environ, start_response):
        request = tuple(environ[n] for n in ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING"))
        with self.lock:
            bad = self.fails(*request[:2]) and not (self.once and request in self.seen)
            self.seen |= {request} if bad else set()
        if not bad:
            return self.inner(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status = ("500 Internal Server Error", "503 Slow Down")[len(self.seen) % 2]
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", "0")])
        return [b""]


@pytest.fixture
def s3(monkeypatch):
    """moto's S3 as AWS_ENDPOINT_URL, which fails as its Weather says."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server")
    from werkzeug.serving import make_server

    weather = Weather(server.DomainDispatcherApplication(server.create_backend_app))
    serving = make_server("127.0.0.1", 0, weather, threaded=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{serving.port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # of another address
    yield weather
    serving.shutdown()
    thread.join()


def test_a_run_from_s3_to_s3_over_failures(s3, in_process, images, small_file):
    store = fsspec.filesystem("s3")
    store.mkdir("parts")
    for file in images.iterdir():
        store.put_file(str(file), f"parts/in/{file.name}")
    store.pipe_file("parts/in/bad.png", b"no image")

    def vlad(*more):
        from vlad.cli import main

        options = ["--normal", images / "0.png", "--head", "memory", "--engine", "ray"]
        options += ["--workers", 1, "--backbone", small_file, "--device", "cpu"]
        options += ["--out", "s3://parts/run", *more]
        return CliRunner().invoke(main, ["score", "s3://parts/in", *map(str, options)])

    def rows():
        store.invalidate_cache()
        found = pd.dataset("parts/run/scores", filesystem=store, partitioning="hive")
        return {row["path"]: row for row in found.to_table().to_pylist()}

    # one object cannot be fetched, however often
    s3.fails = lambda method, path: method == "GET" and path.endswith("in/3.png")
    done = vlad()
    assert done.exit_code == 0 and "5 images scored, 2 failed" in done.output, done.output
    first = rows()
    assert len(first) == 7 and first["s3://parts/in/3.png"]["memory"] is None
    assert {row["date"] for row in first.values() if row["date"]}

    # it is tried again, and what changed or is new is scored; what is damaged is not; meanwhile
    # each request fails the first time
    s3.clear()
    store.put_file(str(images / "5.png"), "parts/in/2.png")
    store.put_file(str(images / "5.png"), "parts/in/new.png")
    s3.fails, s3.once = lambda method, path: method in ("GET", "PUT"), True
    done = vlad("--resume")
    assert done.exit_code == 0 and "3 images scored:" in done.output, done.output
    assert "1 image changed" in done.output and len(s3.seen) > 5
    second = rows()
    assert len(second) == 8 and second["s3://parts/in/bad.png"]["error"]
    new, changed = (second[f"s3://parts/in/{name}.png"]["memory"] for name in ("new", "2"))
    assert new == changed != first["s3://parts/in/2.png"]["memory"]
    assert all(row["memory"] is not None for row in second.values() if not row["error"])
