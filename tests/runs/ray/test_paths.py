"""Which images there are, by path or URL."""

import io

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlad.errors import ImageError, InputError
from vlad.images import read_image
from vlad.runs.ray.paths import list_images
from vlad.runs.ray.stored import StoredReader


def listed(*paths) -> list[str]:
    return list_images([str(path) for path in paths])["path"].to_pylist()


def test_folders_tables_and_files_name_each_image_once(images, tmp_path):
    names = ["1.png", str(images / "0.png"), "1.png", "s3://bucket/a.png"]
    pq.write_table(pa.table({"path": names, "other": range(4)}), images / "list.parquet")
    table = [str(images / "1.png"), str(images / "0.png"), "s3://bucket/a.png"]
    assert listed(images / "list.parquet") == table
    rest = [str(images / f"{i}.png") for i in range(2, 6)]
    assert listed(images / "list.parquet", images) == table + rest


def test_what_ray_passes_over_is_named_and_what_it_wrote_is_not(images, recwarn):
    (images / "out").mkdir()
    for name in ("raw.nef", "out/part-0.parquet", "out/a.png"):
        (images / name).touch()
    found = list_images([str(images)], str(images / "out"))["path"].to_pylist()
    assert found == [str(images / f"{i}.png") for i in range(6)]
    (sentence,) = [str(warning.message) for warning in recwarn]
    assert "1 file passed over" in sentence and "raw.nef" in sentence


def test_categories_come_along(images):
    table = pa.table({"category": ["nut", None], "path": ["0.png", "1.png"]})
    pq.write_table(table, images / "list.parquet")
    found = list_images([str(images / "list.parquet")])
    assert found["category"].to_pylist() == ["nut", None]


def test_a_bucket_is_listed_and_read(images):
    store = fsspec.filesystem("memory")
    for name, file in {"a.png": "0.png", "deep/b.PNG": "5.png"}.items():
        store.pipe(f"/bucket/{name}", (images / file).read_bytes())
    store.pipe("/bucket/notes.txt", b"no image")
    store.pipe("/bucket/.hidden.png", b"")
    with pytest.warns(UserWarning, match=r"1 file passed over .*: /bucket/notes\.txt$"):
        urls = listed("memory://bucket")
    assert urls == ["memory:///bucket/a.png", "memory:///bucket/deep/b.PNG"]
    opened = StoredReader(10**8, 16, {})
    assert opened(urls[1]).tobytes() == read_image(images / "5.png").tobytes()
    with pytest.raises(ImageError, match=r"memory:///bucket/gone\.png"):
        opened("memory:///bucket/gone.png")


def test_an_output_of_another_store_hides_no_images(images):
    store = fsspec.filesystem("memory")
    store.pipe("/archive/run/a.png", (images / "0.png").read_bytes())
    found = list_images(["memory://archive"], "file:///archive/run")["path"].to_pylist()
    assert found == ["memory:///archive/run/a.png"]
    with pytest.raises(InputError, match="no images"):
        list_images(["memory://archive"], "memory://archive/run")


@pytest.mark.parametrize("columns", [{"file": ["a"]}, {"path": []}, {"path": ["a", None]}])
def test_a_table_that_names_nothing_is_one_sentence(tmp_path, columns):
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    with pytest.raises(InputError, match=r"list\.parquet"):
        listed(tmp_path / "list.parquet")


@pytest.mark.parametrize("name", ["memory://nothing/here", "nonsense://a", "no.parquet"])
def test_places_that_are_not_there_are_one_sentence(name):
    with pytest.raises(InputError, match=name.split(":")[0]):
        listed(name)


def test_an_image_in_memory_that_is_empty_says_so():
    with pytest.raises(ImageError, match=r"s3://x: the file is empty"):
        read_image(io.BytesIO(), name="s3://x")
