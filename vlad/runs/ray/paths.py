"""Images by path or URL: list them, leave out those with a row, read one."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pd
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from PIL import Image

from vlad.datasets import list_samples
from vlad.datasets.folder import warn_of_passed
from vlad.errors import ImageError, InputError, OutputError
from vlad.images import read_image
from vlad.images.decode import is_image_name
from vlad.images.limits import BYTES_A_PIXEL, SLACK
from vlad.runs.ray.parts import parts
from vlad.system.text import shown

# large: a column of many paths passes 2 GiB
SCHEMA = pa.schema([("path", pa.large_string()), ("category", pa.large_string())])


def list_images(paths: Sequence[str], out: str | None = None) -> pa.Table:
    """Path or URL and category (or null) of every image, each path once, in the order given.

    Args:
        paths: what `list_samples` takes; Parquet files with a column `path` and perhaps `category`,
            whose relative paths start at their folder; and URLs that fsspec knows, of Parquet
            files, images or folders (`s3://bucket/parts`).
        out: as in `list_samples`.

    Raises:
        InputError: no images, or a table or name that cannot be used.
    """
    found = []
    for path in paths:
        if path.lower().endswith(".parquet"):
            found.append(_listed(path))
        elif "://" in path:
            found.append(_stored(path))
        else:
            samples = list_samples([path], out)
            found.append(_table([str(s.path) for s in samples], [s.category for s in samples]))
    table = pa.concat_tables(found)
    once = table.group_by("path", use_threads=False).aggregate([("category", "first")])
    return once.rename_columns(["path", "category"]).cast(SCHEMA)


def with_category(images: pa.Table, category: str | None) -> pa.Table:
    """The images; those without a category get this one."""
    if category is None:
        return images
    filled = pc.fill_null(images["category"], pa.scalar(category, pa.large_string()))
    return images.set_column(1, "category", filled)


def without(images: pa.Table, written: pa.ChunkedArray) -> pa.Table:
    """The images whose paths are not among those written."""
    return images.filter(pc.invert(pc.is_in(images["path"], value_set=written)))


def written_paths(out: Path) -> pa.ChunkedArray:
    """The paths of all rows in the partitions of a folder.

    Raises:
        OutputError: a partition cannot be read back.
    """
    written = [str(path) for path in parts(out)]
    if not written:
        return pa.chunked_array([], pa.large_string())
    try:
        found = pd.dataset(written, schema=pa.schema([("path", pa.large_string())])).to_table()
    except (OSError, pa.ArrowException) as error:
        raise OutputError(
            f"{out} cannot be read back ({error}); remove that file and repeat the command."
        ) from error
    return found["path"]


def open_stored(path: str | Path, max_pixels: int, bits: int) -> Image.Image:
    """Upright 8-bit RGB of a path or URL.

    Raises:
        ImageError: as `read_image`, or a URL that cannot be read.
    """
    if "://" not in str(path):
        return read_image(path, max_pixels=max_pixels, bits=bits)
    try:
        store, name = fsspec.url_to_fs(path)
        if isinstance(store, LocalFileSystem):  # it could be a pipe or a device
            return read_image(name, max_pixels=max_pixels, bits=bits)
        with store.open(name, "rb") as file:
            content = io.BytesIO(file.read(BYTES_A_PIXEL * max_pixels + SLACK + 1))
    except ImageError:
        raise
    except Exception as error:  # each kind of store has errors of its own
        raise ImageError(
            f"cannot read {path} ({shown(error) or type(error).__name__}); check its address."
        ) from error
    return read_image(content, max_pixels=max_pixels, bits=bits, name=str(path))


def _listed(path: str) -> pa.Table:
    try:
        store, name = fsspec.url_to_fs(path)
        if isinstance(store, LocalFileSystem) and os.path.exists(name) and not os.path.isfile(name):
            raise ValueError("it is not a regular file")
        with store.open(name, "rb") as file:
            columns = [n for n in pq.read_schema(file).names if n in SCHEMA.names]
            table = pq.read_table(file, columns=columns)
        if "category" not in columns:
            table = table.append_column("category", pa.nulls(len(table), pa.large_string()))
        table = table.select(SCHEMA.names).cast(SCHEMA)
    except (OSError, ImportError, KeyError, ValueError, pa.ArrowException) as error:
        raise InputError(
            f"cannot read paths from {path} ({shown(error)}); give a Parquet file "
            "with a column path."
        ) from error
    if not len(table) or table["path"].null_count:
        raise InputError(f"{path} has no rows, or rows without a path; fill in or remove them.")
    folder = path.rpartition("/")[0] if "://" in path else os.path.dirname(path)
    whole = pc.match_substring_regex(table["path"], r"^(/|[A-Za-z]:|\w+://)")
    front = [pa.scalar(text, pa.large_string()) for text in (folder, "/" if folder else "")]
    below = pc.binary_join_element_wise(front[0], table["path"], front[1])
    return table.set_column(0, "path", pc.if_else(whole, table["path"], below))


def _stored(url: str) -> pa.Table:
    try:
        store, root = fsspec.url_to_fs(url)
        names = store.find(root)
    except Exception as error:  # each kind of store has errors of its own
        raise InputError(
            f"cannot list {url} ({shown(error)}); check it, and its fsspec driver."
        ) from error
    paths = [store.unstrip_protocol(n) for n in names if is_image_name(n.rpartition("/")[2])]
    others = [n for n in names if not is_image_name(n.rpartition("/")[2]) and "/." not in n]
    warn_of_passed(others)
    if not paths:
        raise InputError(
            f"no images in {url}; give files with a suffix such as .png, .jpg or .tif."
        )
    return _table(paths, [None] * len(paths))


def _table(paths: list[str], categories: list[str | None]) -> pa.Table:
    try:
        return pa.table([pa.array(paths, pa.large_string()), categories], schema=SCHEMA)
    except UnicodeEncodeError as error:
        raise InputError(
            "a file name is not valid Unicode, so Parquet cannot hold it; rename it, or score "
            "with another `engine`."
        ) from error
