"""The rows of a bench as tables for people, in Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vlad.heads import titled
from vlad.system.templates import template

COLUMNS = {
    "image_auroc": "image AUROC",
    "image_ap": "AP",
    "image_f1_max": "F1-max",
    "object_auroc": "object AUROC",
    "object_ap": "AP",
    "object_f1_max": "F1-max",
    "severity_concordance": "severity concordance",
    "severity_tau": "tau-b",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "AP",
    "pixel_f1_max": "F1-max",
    "aupro": "AUPRO",
    "aupro_0.05": "AUPRO 5 %",
    "seg_f1": "SegF1",
}
# where a row was measured
FACTS = ("weights", "dtype", "runtime", "vlad", "torch", "device", "cpu", "cores", "threads")


def markdown(rows: Sequence[dict], settings: Mapping[str, object]) -> str:
    """A table for each data set and, if there are several, one of their means."""
    return _filled("tables.md.j2", rows, settings)


def html(rows: Sequence[dict], settings: Mapping[str, object]) -> str:
    """The same as one self-contained page."""
    return _filled("tables.html.j2", rows, settings)


def _filled(name: str, rows: Sequence[dict], settings: Mapping[str, object]) -> str:
    page = template(Path(__file__).with_name(name))
    return page.render(lead=_lead(rows), tables=_tables(rows), settings=_listed(rows, settings))


def _lead(rows: Sequence[dict]) -> str:
    peak = max((row["peak_memory_mib"] or 0 for row in rows), default=0)
    shown = f" Peak memory of the whole process: {peak:.0f} MiB." if peak else ""
    return (
        "In percent; means over the categories of a set, mean ± standard deviation over seeds. "
        "Times are per image, in the head alone; the backbone's pass is shared by all heads."
        + shown
        + caution(row[name] for row in rows for name in row if name.startswith("bound."))
    )


def caution(bounds: Iterable[float]) -> str:
    """A sentence on how far off pixel metrics may be, after a blank; empty if they are exact."""
    worst = max((bound for bound in bounds if bound == bound), default=0)
    if not worst:
        return ""
    return f" Pixel metrics of sets too large to keep may be off by up to {100 * worst:.2g}."


def _listed(rows: Sequence[dict], settings: Mapping[str, object]) -> list[str]:
    """The settings, what heads read and learned from, and where they were measured."""
    found = dict(settings)
    for name in ("bank", "auxiliary"):
        found[name] = {row["head"]: row[name] for row in rows if row[name]}
    found["transductive"] = list(dict.fromkeys(r["head"] for r in rows if r["transductive"]))
    found |= {name: list(dict.fromkeys(row[name] for row in rows)) for name in FACTS}
    return [f"{name}: {_said(value)}" for name, value in found.items()]


def _said(value: object) -> str:
    if isinstance(value, Mapping):
        value = [f"{key}: {of}" for key, of in value.items()]
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "–"
    return "–" if value is None else str(value)


def _tables(rows: Sequence[dict]) -> dict[str, list[list[str]]]:
    sets = list(dict.fromkeys(row["data"] for row in rows))
    found = {}
    for name in sets:
        own = [row for row in rows if row["data"] == name]
        categories = dict.fromkeys(row["category"] for row in own)
        count = f", mean of {len(categories)} categories" if len(categories) > 1 else ""
        seconds = sum(row["backbone_seconds"] for row in own) / len(own)
        found[f"{name}{count} (backbone {1000 * seconds:.0f} ms per image)"] = _table(own)
    if len(sets) > 1:
        found[f"Mean of {len(sets)} data sets"] = _table(rows)
    return found


def _table(rows: Sequence[dict]) -> list[list[str]]:
    names = [n for n in COLUMNS if any(f"metric.{n}" in row for row in rows)]
    table = [["head", "shots", "input", *(COLUMNS[n] for n in names), "time"]]
    for head, k_shot in dict.fromkeys((row["head"], row["k_shot"]) for row in rows):
        own = [row for row in rows if (row["head"], row["k_shot"]) == (head, k_shot)]
        cells = [titled(head, own[0]["protocol"]), str(k_shot), f"{own[0]['image_size']} px"]
        cells += [_over_seeds(own, f"metric.{name}") for name in names]
        time = np.mean([row["head_seconds"] for row in own])
        table.append([*cells, f"{1000 * time:.1f} ms"])
    return table


def _over_seeds(rows: Sequence[dict], name: str) -> str:
    """Mean over data sets of the means over their categories, then over seeds."""
    means = []
    for seed in dict.fromkeys(row["seed"] for row in rows):
        sets: dict[str, list[float]] = {}
        for row in rows:
            value = row.get(name)
            if row["seed"] == seed and value is not None and value == value:
                sets.setdefault(row["data"], []).append(value)
        if sets:
            means.append(100 * np.mean([np.mean(values) for values in sets.values()]))
    if not means:
        return "–"
    return f"{np.mean(means):.1f}" + (f" ± {np.std(means):.1f}" if len(means) > 1 else "")
