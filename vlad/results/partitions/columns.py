"""The rows in partitions as one table: the columns of their run, the newest row of each path."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from vlad.calibration import FUSED
from vlad.errors import InputError
from vlad.results.partitions.bucket import Bucket
from vlad.results.partitions.files import STATE, read
from vlad.results.partitions.folder import MARK, Folder
from vlad.system.text import counted, shown

MOST = 5_000_000  # rows read at once
_AT_ONCE = 64  # partitions between two counts of rows


def schema(heads: Iterable[str], known: Mapping[str, Sequence[str]]) -> pa.Schema:
    """All columns that partitions of a run may have; path, scores and error are in each.

    Args:
        known: head -> the kinds of defects that it knows.
    """
    heads = list(heads)
    fields = {"path": pa.large_string()}  # large: many paths pass 2 GiB
    fields |= dict.fromkeys([*heads, FUSED], pa.float64())
    fields |= {f"{head}_kind": pa.string() for head in known}
    for name in (*heads, FUSED):
        fields |= {f"{name}_p_value": pa.float64(), f"{name}_verdict": pa.string()}
        fields |= {f"{name}_abstain": pa.bool_(), f"{name}_severity": pa.int64()}
    return pa.schema({**fields, **dict.fromkeys(STATE, pa.int64()), "error": pa.string()})


def read_rows(
    where: Folder | Bucket,
    names: Sequence[str],
    heads: Sequence[str],
    columns: pa.Schema,
    mark: bytes,
) -> pa.Table:
    """The newest row of each path, in the order of the partitions.

    Rows of a later date are newer; within a date the last name counts. A run writes one row for a
    path; others come from elsewhere.

    Args:
        heads: whose scores every partition has.
        columns: of `schema`; only those that a partition has are in the table.
        mark: of `mark_of`.

    Raises:
        InputError: a partition of something else, or too many rows.
        OutputError: a partition cannot be read back.
    """
    needed = ["path", *heads, "error"]
    tables = [columns.empty_table().select(needed)]
    count = 0
    for at in range(0, len(names), _AT_ONCE):
        some = names[at : at + _AT_ONCE]
        for name, table in zip(some, read(where, some, lambda column: True), strict=True):
            tables.append(checked(table, f"{where}/{name}", needed, columns, mark))
            count += len(table)
        if count > MOST:
            days = sorted({name.rpartition("/")[0] for name in names} - {""})
            day = f", or give one day of it, such as {where}/{days[-1]}" if days[1:] else ""
            raise InputError(
                f"{where} has more than {MOST:,} rows, which is too many to read at once; use "
                f"DuckDB{day}."
            )
    rows = pa.concat_tables(tables, promote_options="default")
    last = rows.select(["path"]).append_column("at", pa.array(np.arange(count)))
    kept = last.group_by("path").aggregate([("at", "max")])["at_max"].to_numpy()
    if len(kept) < count:
        warnings.warn(
            f"{counted(count - len(kept), 'row')} of {where} left out, since another partition, of "
            "the same or a later date, has a row of the same path.",
            stacklevel=2,
        )
    return rows.take(np.sort(kept))


def checked(
    table: pa.Table, name: str, needed: Sequence[str], columns: pa.Schema, mark: bytes
) -> pa.Table:
    """A partition with the types of these columns.

    Args:
        name: of the partition, for the sentence.
        needed: columns that it must have.
        columns: those that it may have.
        mark: of its run; partitions of an earlier vlad have none.

    Raises:
        InputError: it has others, another run wrote it, or a row has no path.
    """
    found = table.column_names
    judged = [f"{column[:-8]}_abstain" for column in found if column.endswith("_verdict")]
    missing = [column for column in (*needed, *judged) if column not in found]
    others = [column for column in found if column not in columns.names]
    try:
        if missing or others or len({*found}) < len(found):
            raise ValueError(f"it has the columns {', '.join(found)}")
        if (table.schema.metadata or {}).get(MARK, mark) != mark:
            raise ValueError("another run wrote it")
        table = table.cast(pa.schema([columns.field(column) for column in found]))
        if table["path"].null_count:
            raise ValueError("it has rows without a path")
    except (ValueError, pa.ArrowException) as error:
        raise InputError(
            f"{name} is no partition of this run ({shown(error)}); remove it from the folder."
        ) from error
    return table
