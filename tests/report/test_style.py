"""Colours of the pages."""

import re
from pathlib import Path

import pytest

import vlad
from vlad.report.style import style

_PAGES = ("report/report.css", "serving/page/page.css")
FILES = [Path(vlad.__file__).parent / name for name in _PAGES]


@pytest.mark.parametrize("file", FILES, ids=["report", "page"])
def test_every_colour_that_a_page_uses_has_a_value_in_light_and_dark(file):
    text = style(file)
    light, dark = re.findall(r":root \{([^}]*)\}", text)[:2]
    assert "prefers-color-scheme: dark" in text
    used = set(re.findall(r"var\(--(\w+)\)", text))
    assert used and all(used <= set(re.findall(r"--(\w+):", part)) for part in (light, dark))
