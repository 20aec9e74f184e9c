"""A finished run read back: the scores, verdicts and thresholds that it holds."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlad.calibration import FUSED, Calibration, load_calibration
from vlad.errors import InputError
from vlad.results.folder import RunFolder
from vlad.results.partitions.run import PartitionedRun, open_run
from vlad.system.text import printable, shown


@dataclass(frozen=True)
class Finished:
    """What a finished run found.

    Attributes:
        folder: the run.
        scores: head, or "fused" -> path -> image score, of the images that have one.
        verdicts: the same -> path -> "normal", "anomalous" or "unsure"; empty without verdicts.
        thresholds: the same -> the image score above which images are flagged as anomalous.
    """

    folder: RunFolder
    scores: Mapping[str, Mapping[str, float]]
    verdicts: Mapping[str, Mapping[str, str]]
    thresholds: Mapping[str, float]


def read_finished(out: str | Path) -> Finished:
    """Read a finished run.

    Raises:
        InputError: there is none, it is not finished, or a file of it is damaged.
        OutputError: scores.csv or a partition cannot be read back.
    """
    folder = open_run(out)
    table = folder.columns() if isinstance(folder, PartitionedRun) else _table(folder)
    names = [*folder.heads, *([FUSED] if FUSED in table else [])]
    paths = list(folder.rows)
    scores = {
        name: {p: s for p, s in zip(paths, table[name], strict=True) if _is_number(s)}
        for name in names
    }
    verdicts = {
        name: dict(_words(paths, table[f"{name}_verdict"], table[f"{name}_abstain"]))
        for name in names
        if f"{name}_verdict" in table
    }
    made = _calibration(folder) if verdicts else None
    return Finished(folder, scores, verdicts, made.thresholds if made else {})


def _calibration(folder: RunFolder) -> Calibration | None:
    if isinstance(folder, PartitionedRun):
        return folder.calibration()
    file = folder.out / "calibration.json"
    return load_calibration(file) if file.exists() else None


def _table(folder: RunFolder) -> dict[str, list[Any]]:
    """The columns of scores.parquet, which is written when a run ends."""
    import pyarrow.parquet as pq

    file = folder.out / "scores.parquet"
    table: dict[str, list[Any]] = {}
    try:
        # opened here, for pyarrow closes no file that it cannot read
        with open(file, "rb") as opened:
            table = pq.read_table(opened).to_pydict()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read {file} ({shown(error)}); remove it and `resume` the run that made it."
        ) from error
    # rows of a run that was resumed and stopped are in scores.csv alone
    now: dict[str, list[Any]] = {"path": [printable(path) for path in folder.rows]}
    for head in folder.heads:
        now[head] = [row.scores.get(head) for row in folder.rows.values()]
    if any(table.get(name) != values for name, values in now.items()):
        raise InputError(f"{folder} is not finished; let the run end, or `resume` it.")
    return table


def _is_number(score: float | None) -> bool:
    return score is not None and not math.isnan(score)


def _words(
    paths: Iterable[str], words: Iterable[str | None], abstain: Iterable[bool | None]
) -> Iterable[tuple[str, str]]:
    for path, word, unsure in zip(paths, words, abstain, strict=True):
        if word is not None:
            yield path, "unsure" if unsure else sys.intern(word)  # one for all rows
