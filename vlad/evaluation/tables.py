"""The rows of a bench as tables for people, in Markdown, HTML and LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vlad.evaluation.certainty import METRICS, Certainty
from vlad.evaluation.figures import MEAN, Rows, Scope, corruptions, scopes, seed_means
from vlad.heads import titled
from vlad.metrics.significance import DRAWS, LEVEL
from vlad.system.templates import template
from vlad.system.text import printable

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
_PER_CATEGORY = ("image_auroc", "pixel_auroc", "aupro")
_ROBUST = ("image_auroc", "pixel_auroc")
_CERTAIN = (
    f" Intervals ({100 * LEVEL:.0f} %) come from {DRAWS} resamples of the test images, each class "
    "by itself; the reference images stay as they are. A head is compared with the best one of as "
    "many shots by DeLong's test on the same images; p is two-sided and Holm's over the table."
)
_FLAT = (
    " An interval without width means that every resample gave the same value, as of scores that "
    "separate all images; it is no certainty."
)
_OLD = (
    " Some rows were measured by an earlier vlad, which kept no image scores: measure again in "
    "another folder for intervals and comparisons of all heads."
)
_LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"},
    **{"±": r"\(\pm\)", "–": "--", "−": r"\(-\)", "<": r"\(<\)", ">": r"\(>\)"},
}
# where a row was measured
FACTS = ("weights", "dtype", "runtime", "vlad", "torch", "device", "cpu", "cores", "threads")


def markdown(rows: Rows, settings: Mapping[str, object], certainty: Certainty) -> str:
    """A table for each data set and, if there are several, one of their means.

    After them those of certainty, of categories and of corruptions, where the rows have them.
    """
    return _filled("tables.md.j2", rows, settings, certainty)


def html(
    rows: Rows,
    settings: Mapping[str, object],
    certainty: Certainty,
    curves: Mapping[str, object] | None = None,
) -> str:
    """The same as one self-contained page, with the curves of `vlad.evaluation.curves`."""
    return _filled("tables.html.j2", rows, settings, certainty, curves=curves)


def latex(rows: Rows, certainty: Certainty) -> str:
    """The same tables for a paper that uses booktabs."""
    lines = ["% \\usepackage{booktabs}"]
    for title, (first, *others) in _tables(rows, certainty).items():
        body = [" & ".join(map(_in_latex, line)) + r" \\" for line in (first, *others)]
        lines += [
            r"\begin{table}",
            rf"\caption{{{_in_latex(title)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(first) - 1)}}}",
            *(r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule"),
            *(r"\end{tabular}", r"\end{table}", ""),
        ]
    return "\n".join(lines)


def _filled(
    name: str, rows: Rows, settings: Mapping[str, object], certainty: Certainty, **more: object
) -> str:
    page = template(Path(__file__).with_name(name))
    tables = _tables(rows, certainty)
    lead = _lead(rows) + (_FLAT if certainty.flat else "")
    return page.render(lead=lead, tables=tables, settings=_listed(rows, settings), **more)


def _lead(rows: Rows) -> str:
    peak = max((row["peak_memory_mib"] or 0 for row in rows), default=0)
    shown = f" Peak memory of the whole process: {peak:.0f} MiB." if peak else ""
    return (
        "In percent; means over the categories of a set, mean ± standard deviation over seeds. "
        "Times are per image, in the head alone; the backbone's pass is shared by all heads."
        + shown
        + (_CERTAIN if all(row.get("scores") for row in rows) else _OLD)
        + caution(row[name] for row in rows for name in row if name.startswith("bound."))
    )


def caution(bounds: Iterable[float]) -> str:
    """A sentence on how far off pixel metrics may be, after a blank; empty if they are exact."""
    worst = max((bound for bound in bounds if bound == bound), default=0)
    if not worst:
        return ""
    return f" Pixel metrics of sets too large to keep may be off by up to {100 * worst:.2g}."


def _listed(rows: Rows, settings: Mapping[str, object]) -> list[str]:
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


def _tables(rows: Rows, certainty: Certainty) -> dict[str, list[list[str]]]:
    found = {}
    every = list(scopes(rows))
    # a set of one category is shown by its name
    wholes = {scope.data: scope for scope in every}
    changes = corruptions(rows)
    for scope in wholes.values():
        found[_titled(scope, every)] = _table(scope)
    for name, scope in wholes.items():
        title = name or "Mean of all data sets"
        if (table := _certain(scope, certainty)) and len(table) > 1:
            found[f"{title}: 95 % intervals and comparison with the best head"] = table
    for name in wholes:
        categories = [scope for scope in every if scope.data == name != MEAN]
        for metric in _PER_CATEGORY if len(categories) > 1 else ():
            if any(f"metric.{metric}" in row for row in categories[-1].rows):
                found[f"{name}: {COLUMNS[metric]} of each category"] = _each(categories, metric)
    for name, scope in wholes.items():
        title = name or "Mean of all data sets"
        for metric in _ROBUST if changes else ():
            if any(f"metric.{metric}" in row for row in scope.rows):
                found[f"{title}: {COLUMNS[metric]} on corrupted images"] = _falls(
                    scope, metric, changes
                )
    return found


def _titled(scope: Scope, every: Sequence[Scope]) -> str:
    if scope.data == MEAN:
        return f"Mean of {len({one.data for one in every} - {MEAN})} data sets"
    categories = {row["category"] for row in scope.rows}
    count = f", mean of {len(categories)} categories" if len(categories) > 1 else ""
    clean = [row for row in scope.rows if not row.get("corruption")]
    seconds = sum(row["backbone_seconds"] for row in clean) / len(clean)
    return f"{scope.data}{count} (backbone {1000 * seconds:.0f} ms per image)"


def _table(scope: Scope) -> list[list[str]]:
    names = [n for n in COLUMNS if any(f"metric.{n}" in row for row in scope.rows)]
    table = [["head", "shots", "input", *(COLUMNS[n] for n in names), "time"]]
    for key in scope.heads:
        own = scope.of(key)
        cells = [*_named(own), f"{own[0]['image_size']} px"]
        cells += [_over_seeds(own, name) for name in names]
        time = np.mean([row["head_seconds"] for row in own])
        table.append([*cells, f"{1000 * time:.1f} ms"])
    return table


def _certain(scope: Scope, certainty: Certainty) -> list[list[str]]:
    """Only its first line if nothing is known."""
    table = [["head", "shots", *(COLUMNS[name] for name in METRICS), "AUROC minus best", "p"]]
    heads = {key: scope.of(key) for key in scope.heads}
    compared = certainty.against_best(heads)
    for key, own in heads.items():
        cells = [_with_interval(own, name, certainty) for name in METRICS]
        if set(cells) != {"–"}:
            last = ["–", "–"]
            if difference := compared.get(key):
                last = [_signed(difference.value), _p(difference.p)]
            elif key in compared:
                last = ["best", ""]
            table.append([*_named(own), *cells, *last])
    return table


def _each(categories: Sequence[Scope], metric: str) -> list[list[str]]:
    """The last scope is their mean."""
    table = [["head", "shots", *(scope.category or "mean" for scope in categories)]]
    for key in categories[-1].heads:
        cells = [_over_seeds(scope.of(key), metric) for scope in categories]
        table.append([*_named(categories[-1].of(key)), *cells])
    return table


def _falls(scope: Scope, metric: str, changes: Sequence[str]) -> list[list[str]]:
    table = [["head", "shots", "as they are", *changes, "mean change"]]
    for key in scope.heads:
        clean = seed_means(own := scope.of(key), metric)
        cells, falls = [], []
        for change in changes:
            values = seed_means(scope.of(key, change), metric)
            if not (values and clean):
                cells.append("–")
                continue
            falls.append(np.mean(values) - np.mean(clean))
            cells.append(f"{100 * np.mean(values):.1f} ({_signed(falls[-1])})")
        last = _signed(np.mean(falls)) if falls else "–"
        table.append([*_named(own), _over_seeds(own, metric), *cells, last])
    return table


def _named(rows: Rows) -> list[str]:
    return [titled(rows[0]["head"], rows[0]["protocol"]), str(rows[0]["k_shot"])]


def _over_seeds(rows: Rows, metric: str) -> str:
    means = [100 * mean for mean in seed_means(rows, metric)]
    if not means:
        return "–"
    return f"{np.mean(means):.1f}" + (f" ± {np.std(means):.1f}" if len(means) > 1 else "")


def _with_interval(rows: Rows, metric: str, certainty: Certainty) -> str:
    found, means = certainty.interval(rows, metric), seed_means(rows, metric)
    if found is None or not means:
        return "–"
    return f"{100 * np.mean(means):.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _signed(value: float | np.floating) -> str:
    found = f"{100 * value:+.1f}"
    return "0.0" if found in ("+0.0", "-0.0") else found.replace("-", "−")


def _in_latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in printable(text))
