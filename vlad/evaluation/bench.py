"""Heads × data sets × shots × seeds in one table, one pass over each category's test images.

    bench.json       what the command asked for, written first
    results.jsonl    one line for each head, shot, seed and category; also the journal
    bench.parquet    the same, typed
    bench.md, bench.html, bench.tex   means over categories, mean ± standard deviation over seeds,
                                      intervals, comparisons with the best head, corruptions
    bench.csv        the same figures, one a line (`vlad.evaluation.figures`)
    bench.svg        metrics over numbers of shots, if there are several

A line holds the metrics, how far pixel metrics may be off, and everything needed to compare them:
resolution, tiles, backbone, prompts, auxiliary data, layout, versions, machine. The lines of a
category are appended together once it is finished, so an interrupted benchmark resumes with the
next one. If images, masks or prompts of a category changed, its lines are removed and it is
measured again. Maps wait in a temporary file until the category is measured
(`vlad.evaluation.pixels`).
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from vlad.backbones.backbone import Backbone
from vlad.errors import InputError, OutputError
from vlad.evaluation import Entry, Result, evaluate_category, prompts_key, rules_of
from vlad.evaluation.certainty import Certainty
from vlad.evaluation.curves import shot_curves, svg
from vlad.evaluation.figures import csv
from vlad.evaluation.tables import html, latex, markdown
from vlad.heads import Head
from vlad.prompts import load_bank
from vlad.prompts.categories import check_words
from vlad.results.rows import State
from vlad.scoring.record import asked_by
from vlad.scoring.setup import Setup
from vlad.system.files import atomic_write, cannot_write
from vlad.system.formats import check_format
from vlad.system.machine import machine, peak_memory
from vlad.system.text import encode
from vlad.system.workspace import Workspace
from vlad.types import Sample

BENCH = Workspace(
    "vlad bench",
    "bench.json",
    (
        *("data", "layout", "head", "k_shot", "seeds", "words", "params", "adapters", "weights"),
        *("corruptions", "known_defects", "boxes"),
        *(field.name for field in fields(Setup)),
    ),
    (
        *("results.jsonl", "bench.parquet", "bench.md", "bench.html", "bench.tex"),
        *("bench.csv", "bench.svg"),
    ),
)
_ROW = (
    *("data", "layout", "category", "head", "k_shot", "seed", "protocol", "transductive"),
    *("auxiliary", "bank", "backbone", "weights", "dtype", "runtime", "image_size", "tile"),
    *("overlap", "files", "images", "left_out", "head_seconds", "backbone_seconds"),
    *("peak_memory_mib", "vlad", "torch", "device", "cpu", "cores", "threads"),
    *("references", "errors", "words", "prompts", "corruption", "ids", "labels", "scores"),
    "known_defects",
)


# what a row takes from its result as it is
_MEASURED = (
    *("category", "head", "k_shot", "seed", "corruption", "protocol", "transductive", "auxiliary"),
    *("bank", "words", "prompts"),
)


def bench(
    backbone: Backbone,
    data: Mapping[str, Any],
    make_heads: Callable[[], Mapping[str, Head]],
    shots: Sequence[int],
    seeds: Sequence[int],
    out: str | Path,
    settings: Mapping[str, object],
    *,
    layouts: Mapping[str, str],
    setup: Setup | None = None,
    words: Mapping[str, str] | None = None,
    corruptions: Sequence[str] = (),
    known: Mapping[str, Sequence[Sample]] | None = None,
) -> list[dict]:
    """Measure what is not measured yet, and write all tables.

    Args:
        data: name -> data set as `vlad.datasets.load_dataset` gives it.
        make_heads: name -> new head.
        shots: numbers of normal images; 0 is for heads that do not need any.
        seeds: random seeds of their draws.
        settings: what else the metrics depend on; a benchmark in `out` must have the same.
        layouts: data set -> how it is laid out.
        setup: how images are read and scored.
        words: category -> what prompts call it, where that is not its name.
        corruptions: names of `vlad.evaluation.corruptions`, to measure on corrupted test images
            too.
        known: category -> its known defects, as in `evaluate_category`.

    Returns:
        the rows of results.jsonl.

    Raises:
        InputError: fewer normal images than shots, or a category without images to use.
        OutputError: `out` holds a benchmark with other settings, or cannot be written to.
        PromptError: words for an unknown category, or a prompt bank that does not support one.
    """
    out = Path(out)
    words = check_words(words or {}, dict.fromkeys(c for d in data.values() for c in d.categories))
    if words:
        settings = {**settings, "words": words}
    given = setup.bank if setup else None
    heads = make_heads()
    banks = {n: load_bank(given or own) for n, head in heads.items() if (own := head.bank)}
    questions = {n: asked for n, head in heads.items() if (asked := asked_by(head))}
    for name, head in heads.items():
        if few := [k for k in shots if 0 < k < _least(head)]:
            warnings.warn(
                f"head {name} needs {_least(head)} normal images; it is not measured with "
                f"{', '.join(map(str, few))}.",
                stacklevel=2,
            )
    rows = _begin(out, settings)
    wanted = [
        (e.name, e.k_shot, e.seed, c)
        for c in (None, *corruptions)
        for e in _entries(make_heads, shots, seeds)
    ]
    for name, dataset in data.items():
        for category in dataset.categories:
            train = dataset.train(category) if any(k for _, k, *_ in wanted) else []
            test = dataset.test(category)
            rules = rules_of(dataset, category)
            shown = (known or {}).get(category, [])
            files = _state_of([*train, *test, *rules["validation"], *shown])
            said = words.get(category, category)
            prompts = {n: prompts_key(bank, said) for n, bank in banks.items()} | questions
            there = [r for r in rows if (r["data"], r["category"]) == (name, category)]
            changed = _changed(there, files, prompts)
            measured = {_cell(row) for row in there}
            if not changed and set(wanted) <= measured:
                continue
            if changed:
                warnings.warn(
                    f"{changed} of {category} in {name} changed since they were measured, so "
                    "it is measured again.",
                    stacklevel=2,
                )
            if there:
                rows = [r for r in rows if (r["data"], r["category"]) != (name, category)]
                atomic_write(out / "results.jsonl", _lines(rows))
            results = evaluate_category(
                backbone,
                _entries(make_heads, shots, seeds),
                category,
                train,
                test,
                setup,
                words=words.get(category),
                corruptions=corruptions,
                known=shown,
                **rules,
            )
            fresh = [_row(name, layouts[name], backbone, result, files) for result in results]
            rows += fresh
            _append(out / "results.jsonl", fresh)
    rows = [row for row in rows if _cell(row) in wanted]
    _write(out, rows, settings)
    return rows


def _cell(row: dict) -> tuple[str, int, int, str | None]:
    """What a row measured in its category."""
    # rows of earlier versions are of images as they are
    return row["head"], row["k_shot"], row["seed"], row.get("corruption")


def _state_of(samples: Sequence[Sample]) -> str:
    """Hash of names, sizes and times of change of images and masks."""
    lines = []
    for sample in samples:
        for path in (sample.path, sample.mask):
            state = path and State.of(path)
            lines.append(f"{path}\0{state and state[:2]}")
    return hashlib.sha256(encode("\n".join(sorted(lines)))).hexdigest()[:16]


def _changed(rows: Sequence[dict], files: str, prompts: Mapping[str, str]) -> str:
    """What rows of a category were measured with that is not so any more; "" for nothing."""
    changed = []
    # rows of earlier versions do not say
    if any(row.get("files", files) != files for row in rows):
        changed.append("images or masks")
    now = [(row, prompts.get(row["head"])) for row in rows]
    if any(row.get("prompts", key) != key for row, key in now):
        changed.append("prompts")
    return " and ".join(changed).capitalize()


def _least(head: Head) -> int:
    return getattr(head, "least_normals", 1)  # an object that is no subclass may lack it


def _entries(
    make_heads: Callable[[], Mapping[str, Head]], shots: Sequence[int], seeds: Sequence[int]
) -> list[Entry]:
    """Every head with every number of shots it can use; without shots, one seed is enough."""
    found = []
    heads = make_heads()
    for name, head in heads.items():
        for k_shot in sorted({0 if head.normals == "unused" else k for k in shots}):
            if k_shot < _least(head) and (k_shot or head.normals == "needed"):
                continue
            for seed in seeds if k_shot else [0]:
                found.append(Entry(name, make_heads()[name], k_shot, seed))
    if not found:
        raise InputError(
            f"All heads here ({', '.join(heads)}) need normal images; give `k_shot` values above "
            f"{min(_least(head) for head in heads.values()) - 1}."
        )
    return found


def _row(data: str, layout: str, backbone: Backbone, result: Result, files: str) -> dict:
    return {
        "data": data,
        "layout": layout,
        **{name: getattr(result, name) for name in _MEASURED},
        "backbone": backbone.info.name,
        "weights": backbone.fingerprint[:16],
        "dtype": backbone.precision,
        "runtime": backbone.runtime,
        "image_size": result.image_size,
        "tile": result.tile,
        "overlap": result.overlap,
        "files": files,
        "images": result.images,
        "left_out": len(result.errors),
        "head_seconds": result.head_seconds,
        "backbone_seconds": result.backbone_seconds,
        "peak_memory_mib": peak_memory(),
        **machine(backbone.device),
        **{f"metric.{name}": value for name, value in result.metrics.items()},
        **{f"bound.{name}": value for name, value in result.bounds.items()},
        "known_defects": list(result.known),
        "references": list(result.references),
        "errors": list(result.errors.values()),
        "ids": list(result.scores),
        "labels": list(result.labels.values()),
        "scores": list(result.scores.values()),
    }


def _begin(out: Path, settings: Mapping[str, object]) -> list[dict]:
    """Rows of the benchmark in the folder; start one if there is none."""
    BENCH.check(out, resume=True)
    if not BENCH.continues(out, settings):
        BENCH.begin(out, settings)
        return []
    try:
        lines = (out / "results.jsonl").read_text().split("\n")
        # what follows the last line feed is incomplete
        rows = [json.loads(line) for line in lines[:-1]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise OutputError(f"{out} cannot be read back ({error}); choose another folder.") from error
    for row in rows:
        own = {
            key: value for key, value in row.items() if not key.startswith(("metric.", "bound."))
        }
        check_format(own, _ROW, out / "results.jsonl", OutputError)
    return rows


def _lines(rows: Sequence[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _append(file: Path, rows: Sequence[dict]) -> None:
    try:
        with open(file, "a+b") as opened:
            # cut off an incomplete last line
            opened.seek(0)
            whole = opened.read().rpartition(b"\n")
            opened.truncate(len(whole[0] + whole[1]))
            opened.write(_lines(rows))
            opened.flush()
            os.fsync(opened.fileno())
    except OSError as error:
        raise cannot_write(file, error) from error


def _write(out: Path, rows: Sequence[dict], settings: Mapping[str, object]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # columns without any value still have a type, so that files can be joined
    text, texts = pa.string(), pa.list_(pa.string())
    types = {name: text for name in ("auxiliary", "bank", "words", "prompts", "corruption")}
    types |= {"references": texts, "errors": texts, "known_defects": texts, "ids": texts}
    types |= {"tile": pa.int64(), "overlap": pa.float64()}
    types |= {"labels": pa.list_(pa.int64()), "scores": pa.list_(pa.float64())}
    columns = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({n: pa.array([row.get(n) for row in rows], types.get(n)) for n in columns})
    atomic_write(out / "bench.parquet", lambda file: pq.write_table(table, file))
    certainty = Certainty()
    curves = shot_curves(rows)
    atomic_write(out / "bench.md", markdown(rows, settings, certainty).encode())
    atomic_write(out / "bench.html", html(rows, settings, certainty, curves).encode())
    atomic_write(out / "bench.tex", latex(rows, certainty).encode())
    atomic_write(out / "bench.csv", csv(rows, certainty))
    if curves:
        atomic_write(out / "bench.svg", svg(curves).encode())
