"""The figures of a bench in CSV: the values of its rows, averaged as the tables do."""

import csv as reader
import io

import pytest

from vlad.evaluation import figures
from vlad.evaluation.certainty import Certainty

VALUES = {("s", "nut"): 0.6, ("s", "bolt"): 0.8, ("t", "cap"): 0.9}


def rows():
    return [
        {
            "data": data, "category": category, "head": head, "protocol": "few-shot", "k_shot": 2,
            "seed": seed, "corruption": corruption, "ids": list("abcdef"), "labels": [0, 1] * 3,
            "scores": [0.1, 0.3, 0.2, 0.15, 0.12, 0.5 + (head == "musc")],
            "metric.image_auroc": value + 0.1 * seed - 0.2 * bool(corruption),
            "metric.aupro": float("nan") if category == "nut" else value,
        }
        for (data, category), value in VALUES.items()
        for head in ("memory", "musc")
        for seed in (0, 1)
        for corruption in (None, "blur")
    ]  # fmt: skip


def written():
    text = figures.csv(rows(), Certainty()).decode()
    return {
        tuple(line[n] for n in ("data", "category", "head", "corruption", "metric")): line
        for line in reader.DictReader(io.StringIO(text))
    }


def test_every_figure_once():
    found = written()
    scopes = [*VALUES, ("s", ""), ("", "")]
    assert set(found) == {
        (*scope, head, corruption, metric)
        for scope in scopes
        for head in ("memory", "musc")
        for corruption in ("", "blur")
        for metric in ("image_auroc", "aupro")
        if (scope, metric) != (("s", "nut"), "aupro")
    }

    def value(*key, column="value"):
        return float(found[key][column])

    assert value("s", "nut", "memory", "", "image_auroc") == pytest.approx(0.65)
    assert value("s", "", "memory", "", "image_auroc") == pytest.approx(0.75)
    assert value("", "", "memory", "", "image_auroc") == pytest.approx(0.85)
    assert value("", "", "memory", "blur", "image_auroc") == pytest.approx(0.65)
    assert value("", "", "memory", "", "image_auroc", column="std") == pytest.approx(0.05)
    # of the categories that have it
    assert value("", "", "memory", "", "aupro") == pytest.approx(0.85)


def test_intervals_and_comparisons_only_where_they_are_defined():
    for (_, _, head, corruption, metric), line in written().items():
        assert bool(line["low"] and line["high"]) == (metric == "image_auroc")
        compared = metric == "image_auroc" and not corruption and head == "musc"
        assert bool(line["minus_best"] and line["p"]) == compared


def test_names_are_no_formulas():
    changed = [row | {"data": "=cmd()", "category": "@x"} for row in rows()]
    text = figures.csv(changed, Certainty()).decode()
    assert not [line for line in text.splitlines() if line.startswith("=") or ",@x" in line]
