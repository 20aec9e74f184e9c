"""Images by path or URL: list them, and leave out those with a row."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from vlad.datasets import list_samples
from vlad.datasets.folder import warn_of_passed
from vlad.errors import InputError
from vlad.images.decode import is_image_name
from vlad.system.text import shown

# large: a column of many paths passes 2 GiB
SCHEMA = pa.schema(
    [
        ("path", pa.large_string()),
        ("category", pa.large_string()),
        ("size", pa.int64()),  # bytes of an object, as its store listed it
        ("modified", pa.int64()),  # ns since 1970
    ]
)
TIMES = ("LastModified", "last_modified", "mtime", "created")  # as kinds of stores name them


def list_images(paths: Sequence[str], out: str | None = None) -> pa.Table:
    """Every image, each path once, in the order given -> a table of SCHEMA.

    Args:
        paths: what `list_samples` takes; Parquet files with a column `path` and perhaps `category`,
            and of URLs `size` in bytes and `modified`, a timestamp, whose relative paths start at
            their folder; and URLs that fsspec knows, of Parquet files, images or folders
            (`s3://bucket/parts`).
        out: as in `list_samples`; also a URL.

    Raises:
        InputError: no images, or a table or name that cannot be used.
    """
    found = []
    for path in paths:
        if path.lower().endswith(".parquet"):
            found.append(_listed(path))
        elif "://" in path:
            found.append(_stored(path, out))
        else:
            samples = list_samples([path], out)
            columns = {"path": [str(s.path) for s in samples]}
            found.append(_table(columns | {"category": [s.category for s in samples]}))
    table = pa.concat_tables(found)
    others = [(name, "first") for name in SCHEMA.names[1:]]
    once = table.group_by("path", use_threads=False).aggregate(others)
    return once.rename_columns(SCHEMA.names).cast(SCHEMA)


def with_category(images: pa.Table, category: str | None) -> pa.Table:
    """The images; those without a category get this one."""
    if category is None:
        return images
    filled = pc.fill_null(images["category"], pa.scalar(category, pa.large_string()))
    return images.set_column(1, "category", filled)


def without(images: pa.Table, written: pa.ChunkedArray) -> pa.Table:
    """The images whose paths are not among those written."""
    return images.filter(pc.invert(pc.is_in(images["path"], value_set=written)))


def _listed(path: str) -> pa.Table:
    try:
        store, name = fsspec.url_to_fs(path)
        if isinstance(store, LocalFileSystem) and os.path.exists(name) and not os.path.isfile(name):
            raise ValueError("it is not a regular file")
        with store.open(name, "rb") as file:
            columns = [n for n in pq.read_schema(file).names if n in SCHEMA.names]
            table = pq.read_table(file, columns=columns)
        if "modified" in columns and pa.types.is_timestamp(table.schema.field("modified").type):
            at = table.column_names.index("modified")
            table = table.set_column(at, "modified", table["modified"].cast(pa.timestamp("ns")))
        table = _completed(table)
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


def _stored(url: str, out: str | None) -> pa.Table:
    try:
        store, root = fsspec.url_to_fs(url)
        infos = store.find(root, detail=True)
        target, place = fsspec.url_to_fs(out) if out else (None, "")
        own = f"{place.rstrip('/')}/" if target == store else None
    except Exception as error:  # each kind of store has errors of its own
        raise InputError(
            f"cannot list {url} ({shown(error)}); check it, and its fsspec driver."
        ) from error
    names = [n for n in infos if own is None or not n.startswith(own)]
    images = [n for n in names if is_image_name(n.rpartition("/")[2])]
    others = [n for n in names if not is_image_name(n.rpartition("/")[2]) and "/." not in n]
    warn_of_passed(others)
    if not images:
        raise InputError(
            f"no images in {url}; give files with a suffix such as .png, .jpg or .tif."
        )
    columns = {"path": [store.unstrip_protocol(name) for name in images]}
    columns["size"] = [infos[name].get("size") for name in images]
    columns["modified"] = [_modified(infos[name]) for name in images]
    return _table(columns)


def _modified(info: Mapping) -> int | None:
    """When an object last changed, in ns since 1970."""
    found = next((info[name] for name in TIMES if info.get(name)), None)
    if isinstance(found, datetime):
        found = found.timestamp()
    return round(1e9 * found) if isinstance(found, int | float) else None


def _table(columns: Mapping[str, list]) -> pa.Table:
    try:
        arrays = {n: pa.array(values, SCHEMA.field(n).type) for n, values in columns.items()}
    except UnicodeEncodeError as error:
        raise InputError(
            "a file name is not valid Unicode, so Parquet cannot hold it; rename it, or score "
            "with another `engine`."
        ) from error
    return _completed(pa.table(arrays))


def _completed(table: pa.Table) -> pa.Table:
    """The columns of SCHEMA; null where the table has none."""
    for field in SCHEMA:
        if field.name not in table.column_names:
            table = table.append_column(field.name, pa.nulls(len(table), field.type))
    return table.select(SCHEMA.names).cast(SCHEMA)
