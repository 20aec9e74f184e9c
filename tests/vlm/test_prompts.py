import pytest

from vlad.errors import PromptError
from vlad.vlm.prompts import load_prompt, prompt_names

GOOD = """
title = "Mine"
source = "the tests"
licence = "CC0-1.0"
blanks = ["category"]
text = "Look at this {category}."
"""


@pytest.fixture
def prompt(tmp_path):
    def load(old="", new=""):
        (tmp_path / "my.toml").write_text(GOOD.replace(old, new) if old else GOOD)
        return load_prompt(tmp_path / "my.toml")

    return load


@pytest.mark.parametrize("name", prompt_names())
def test_prompts_that_ship_are_valid(name):
    found = load_prompt(name)
    assert found.name == name and found.licence == "Apache-2.0"
    filled = found.fill(**dict.fromkeys(found.blanks, "WORD"))
    assert "WORD" in filled or not found.blanks


def test_blanks_are_filled_once(prompt):
    assert prompt().fill(category="{category} {x}") == "Look at this {category} {x}."


def test_every_blank_has_one_value(prompt):
    for values in ({}, {"category": "nut", "other": "x"}):
        with pytest.raises(PromptError, match="give one value for each blank"):
            prompt().fill(**values)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("{category}", "{object}", "category is not in the text; correct one"),
        ("{category}", "{category} {object}", "object is in the text only; correct one"),
        ('["category"]', '"category"', "blanks is not a list of texts"),
        ("title", "name", "name is not a key here"),
        ('source = "the tests"', "", "source is missing"),
    ],
)
def test_faults_are_said(prompt, old, new, error):
    with pytest.raises(PromptError, match=rf"my\.toml: .*{error}"):
        prompt(old, new)


def test_an_unknown_name():
    with pytest.raises(PromptError, match=r"Unknown prompt 'explian' .*Did you mean explain"):
        load_prompt("explian")
