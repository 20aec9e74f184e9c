"""The tables of a bench say the same in Markdown and HTML, and names in them are never markup."""

import re
from html import unescape

from vlad.evaluation.certainty import Certainty
from vlad.evaluation.tables import FACTS, html, markdown

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
