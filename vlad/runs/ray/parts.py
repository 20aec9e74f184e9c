"""Take out the rows of images to score again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vlad.results.partitions.bucket import Bucket
from vlad.results.partitions.columns import checked
from vlad.results.partitions.files import STATE, read
from vlad.results.partitions.folder import Folder
from vlad.results.rows import State

_READ = pa.schema(
    # large: many paths pass 2 GiB
    {"path": pa.large_string(), **dict.fromkeys(STATE, pa.int64()), "error": pa.string()}
)


def take_out(
    where: Folder | Bucket, folder: str, images: pa.Table, mark: bytes
) -> tuple[pa.Array, list[str]]:
    """Takes out the rows of images that changed, or could not be fetched.

    Args:
        folder: of `writing`.
        images: of `vlad.runs.ray.paths.list_images`.
        mark: of the run.

    Returns:
        the paths of the rows that stay, and those of images that changed.

    Raises:
        InputError: a partition of something else.
        OutputError: a partition cannot be read or replaced.
    """
    names = where.parts()
    tables = [
        checked(table, f"{where}/{name}", ["path"], _READ, mark)
        for name, table in zip(names, read(where, names, _READ.names.__contains__), strict=True)
    ]
    # partitions of an earlier vlad have no state
    rows = pa.concat_tables([_READ.empty_table(), *tables], promote_options="default")
    rows = rows.combine_chunks()
    wanted = pc.is_in(rows["path"], value_set=images["path"].combine_chunks())
    other = _changed(rows, images, wanted)
    unread = pc.and_(pc.is_valid(rows["error"]), pc.is_null(rows["size"]))
    kept = pc.invert(pc.or_(other, pc.and_(unread, wanted)))
    at = 0
    for name, table in zip(names, tables, strict=True):
        mask = kept.slice(at, len(table))
        at += len(table)
        if not pc.any(mask).as_py():
            where.remove(name)
        elif not pc.all(mask).as_py():
            with where.open(name) as file:
                where.write(folder, name, pq.read_table(file).filter(mask))
            where.finish(folder, name)
    return rows["path"].filter(kept), rows["path"].filter(other).to_pylist()


def _changed(rows: pa.Table, images: pa.Table, wanted: pa.ChunkedArray) -> pa.Array:
    """Whether each row's image is another one now: as its file is, or as the store listed it."""
    known = images.filter(pc.is_valid(images["modified"]))
    listed = known.take(pc.index_in(rows["path"], value_set=known["path"].combine_chunks()))
    found = np.zeros(len(rows), bool)
    for name in STATE:
        found |= pc.fill_null(pc.not_equal(rows[name], listed[name]), False).to_numpy()
    stored = pc.match_substring(rows["path"], "://")
    files = pc.and_(pc.and_(pc.is_valid(rows["size"]), pc.invert(stored)), wanted)
    for at in np.flatnonzero(files.to_numpy()):
        now = State.of(rows["path"][at].as_py())
        was = tuple(rows[name][at].as_py() for name in STATE)
        found[at] = now is not None and now[:2] != was
    return pa.array(found)
