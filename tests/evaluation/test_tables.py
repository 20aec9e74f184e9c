"""The tables of a bench say the same in Markdown and HTML, and names in them are never markup."""

import re
from html import unescape

import pytest

from vlad.evaluation.certainty import Certainty
from vlad.evaluation.tables import FACTS, html, latex, markdown
from vlad.metrics import auroc

EVIL = "<b>nut & bolt</b> caf\udce9"


def row(**more) -> dict:
    return {
        "data": EVIL, "category": "a", "head": "memory", "k_shot": 2, "seed": 0, "image_size": 240,
        "protocol": "few-shot", "transductive": False, "auxiliary": None, "bank": EVIL,
        "peak_memory_mib": 512.4, "backbone_seconds": 0.05, "head_seconds": 0.0123,
        **dict.fromkeys(FACTS, "fact"), **more,
    }  # fmt: skip


ROWS = [
    row(**{"metric.image_auroc": 0.9, "metric.pixel_ap": float("nan"), "bound.pixel_ap": 0.002}),
    row(seed=1, **{"metric.image_auroc": 0.8}),
]


def test_a_table_in_markdown():
    text = markdown(ROWS, {"tile": None, "shots": [1, 2]}, Certainty())
    assert text.startswith("# Bench\n\nIn percent; ")
    assert "Peak memory of the whole process: 512 MiB." in text
    assert "may be off by up to 0.2." in text
    assert (
        """
| head | shots | input | image AUROC | AP | time |
| --- | ---: | ---: | ---: | ---: | ---: |
| memory | 2 | 240 px | 85.0 ± 5.0 | – | 12.3 ms |

## Settings

- tile: –
- shots: 1, 2
"""
        in text
    )


def test_the_page_says_the_same_and_names_are_never_markup():
    page = html(ROWS, {"tile": EVIL}, Certainty())
    assert "<b>" not in page and "nut &amp; bolt" in page and "caf\\xe9" in page
    cells = [unescape(cell) for cell in re.findall(r"<t[hd]>(.*?)</t[hd]>", page)]
    lines = re.findall(r"^\| (.*) \|$", markdown(ROWS, {"tile": EVIL}, Certainty()), re.M)
    assert cells == [cell for line in lines if "---" not in line for cell in line.split(" | ")]
    listed = [unescape(item) for item in re.findall(r"<li>(.*?)</li>", page)]
    assert listed == re.findall(r"^- (.*)$", markdown(ROWS, {"tile": EVIL}, Certainty()), re.M)


def scores(effect, **more):
    """A row with scores of eight images, from which its image AUROC follows."""
    values = [0.1, 0.4, 0.2, 0.5, 0.3, 0.6, 0.25, 0.45]
    found = [value + effect * (i % 2) for i, value in enumerate(values)]
    return row(
        labels=[0, 1] * 4, scores=found, ids=list("abcdefgh"),
        **{"metric.image_auroc": auroc(found, [0, 1] * 4), **more},
    )  # fmt: skip


def tables(rows, certainty=None):
    """Title -> lines of cells."""
    found = {}
    for part in markdown(rows, {}, certainty or Certainty()).split("\n## ")[1:]:
        title, _, body = part.partition("\n")
        lines = re.findall(r"^\| (.*) \|$", body, re.M)
        found[title] = [line.split(" | ") for line in lines if "---" not in line]
    return found


def test_certainty_of_heads():
    rows = [scores(-0.25, data="s"), scores(-0.12, data="s", head="winclip")]
    table = tables(rows)["s: 95 % intervals and comparison with the best head"]
    assert table[0] == ["head", "shots", "image AUROC", "AP", "F1-max", "AUROC minus best", "p"]
    first, best = table[1:]
    assert best[:2] == ["winclip", "2"] and best[-2:] == ["best", ""]
    value, low, high = map(float, re.fullmatch(r"(.*) \((.*) to (.*)\)", first[2]).groups())
    assert value == pytest.approx(100 * rows[0]["metric.image_auroc"], abs=0.06)
    assert low < value < high
    difference = rows[0]["metric.image_auroc"] - rows[1]["metric.image_auroc"]
    assert first[-2] == f"−{-100 * difference:.1f}" and float(first[-1].lstrip("< ")) < 0.1
    text = markdown(rows, {}, Certainty())
    assert "DeLong" in text and "Holm" in text and "earlier vlad" not in text
    old = [*rows, row(data="s", head="musc", **{"metric.image_auroc": 0.5})]
    assert "earlier vlad" in markdown(old, {}, Certainty())
    assert "no certainty" not in text
    assert "no certainty" in markdown([scores(9.0)], {}, Certainty())


def test_categories_of_a_set():
    rows = [
        row(data="s", category=name, k_shot=k, seed=seed, **{f"metric.{metric}": value + k / 100})
        for metric in ("image_auroc",)
        for k in (1, 2)
        for seed, shift in ((0, 0.0), (1, 0.1))
        for name, value in (("nut", 0.5 + shift), ("bolt", 0.7))
    ]
    found = tables(rows)
    assert found["s: image AUROC of each category"] == [
        ["head", "shots", "nut", "bolt", "mean"],
        ["memory", "1", "56.0 ± 5.0", "71.0 ± 0.0", "63.5 ± 2.5"],
        ["memory", "2", "57.0 ± 5.0", "72.0 ± 0.0", "64.5 ± 2.5"],
    ]
    assert not [title for title in found if "pixel" in title]
    alone = tables([one for one in rows if one["category"] == "nut"])
    assert not [title for title in alone if "each category" in title]


def test_falls_under_corruptions():
    changes = {None: 0.9, "blur": 0.85, "noise": 0.9}
    rows = [
        row(data="s", head=head, corruption=name, **{"metric.image_auroc": value - 0.1 * (i and 1)})
        for head, i in (("memory", 0), ("winclip", 1))
        for name, value in changes.items()
    ]
    found = tables(rows)
    assert found["s: image AUROC on corrupted images"] == [
        ["head", "shots", "as they are", "blur", "noise", "mean change"],
        ["memory", "2", "90.0", "85.0 (−5.0)", "90.0 (0.0)", "−2.5"],
        ["winclip", "2", "80.0", "75.0 (−5.0)", "80.0 (0.0)", "−2.5"],
    ]
    # the other tables are of images as they are
    assert [line[3] for line in next(iter(found.values()))[1:]] == ["90.0", "80.0"]


def test_tables_in_latex():
    rows = [row(data="50%_set & more", **{"metric.image_auroc": value}) for value in (0.5, 0.7)]
    rows[1]["seed"] = 1
    text = latex(rows, Certainty())
    assert r"\caption{50\%\_set \& more (backbone 50 ms per image)}" in text
    assert r"memory & 2 & 240 px & 60.0 \(\pm\) 10.0 & 12.3 ms \\" in text
    assert text.count(r"\begin{tabular}{lrrrr}") == text.count(r"\end{tabular}") == 1
