"""Prompt banks that list faults."""

import pytest

from vlad.errors import PromptError
from vlad.prompts import load_bank
from vlad.prompts.categories import categories

FAULTS = """
title = "a"
source = "b"
licence = "c"
[templates]
normal = ["{}."]
anomalous = ["{} at left.", "{} at right."]
[states]
normal = ["{}"]
anomalous = ["broken {}"]
[counts]
normal = 1
anomalous = 2
[faults]
state = "{} with <fault>"
any = ["damage"]
[[overrides]]
categories = ["metal nut"]
faults = ["rust", "a dent"]
"""


def test_faults_come_before_the_states_and_sides_have_templates(tmp_path):
    file = tmp_path / "faults.toml"
    file.write_text(FAULTS)
    prompts = load_bank(file).expand("metal_nut")
    assert prompts.normal == ("metal_nut.",)
    states = ("metal_nut with rust", "metal_nut with a dent", "broken metal_nut")
    assert prompts.anomalous == tuple(f"{s} at {p}." for s in states for p in ("left", "right"))
    assert prompts.faults == ("rust", "a dent", "damage")
    with pytest.raises(PromptError, match="lists no faults of 'bolt'; add them to a copy"):
        load_bank(file).expand("bolt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("{} with <fault>", "with <fault>"), "faults.state is"),
        (("{} with <fault>", "{} with rust"), "faults.state is"),
        (('"a dent"', '"a {}"'), "faults has 'a {}'"),
        (('"a dent"', '"rust"'), "has '{} with rust' twice"),
        (
            ('[faults]\nstate = "{} with <fault>"\nany = ["damage"]\n', ""),
            r"faults has no \[faults\]",
        ),
        (("anomalous = 2", "anomalous = 6"), "is 6, but there are 2 sentences"),
        (('"{} at right."', '"{} at {}."'), "templates.anomalous has"),
    ],
)
def test_what_is_wrong_with_faults_is_said(tmp_path, change, message):
    file = tmp_path / "faults.toml"
    assert change[0] in FAULTS
    file.write_text(FAULTS.replace(*change))
    with pytest.raises(PromptError, match=message):
        load_bank(file)


@pytest.mark.parametrize("category", list(categories()))
def test_the_bank_of_filo_lists_faults_of_all_known_categories(category):
    prompts = load_bank("filo").expand(category)
    listed, spoken = prompts.faults[:-5], prompts.normal[0].removesuffix(".")
    assert len(listed) >= 5
    assert prompts.anomalous[4] == f"abnormal {spoken} with {listed[0]} at center."
    assert len(prompts.anomalous) == 9 * (len(listed) + 5)
    assert "_" not in spoken
