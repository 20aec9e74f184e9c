import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from vlad.commands.prompts import prompts
from vlad.errors import PromptError
from vlad.prompts import bank_names, load_bank

GOOD = """
title = "Brackets"
source = "the tests"
licence = "CC0-1.0"
templates = ["a photo of a {}."]
[states]
normal = ["{}", "straight {}"]
anomalous = ["bent {}"]
"""


def run(*args):
    return CliRunner().invoke(prompts, [str(a) for a in args])


def test_list_names_every_bank_with_its_counts():
    lines = run("list").output.splitlines()
    assert [line.split()[0] for line in lines[1:]] == bank_names()
    (winclip,) = [line for line in lines if line.startswith("winclip ")]
    assert winclip.split()[1:3] == ["154", "88"]


def test_show_prints_source_licence_and_all_sentences():
    result = run("show", "adaclip", "--category", "hazelnut")
    bank = load_bank("adaclip")
    sentences = bank.expand("hazelnut")
    assert result.exit_code == 0
    assert bank.source in result.output
    assert bank.licence in result.output
    shown = [line.strip() for line in result.output.splitlines() if line.startswith("  ")]
    assert shown == [*sentences.normal, *sentences.anomalous]


def test_show_with_a_limit_says_how_many_are_left_out():
    output = run("show", "adaclip", "--limit", 3).output
    assert output.count("  a ") == 6
    assert "... and 25 more" in output
    assert "... and 17 more" in output


def test_show_of_an_unknown_bank_or_category():
    assert isinstance(run("show", "winklip").exception, PromptError)
    assert isinstance(run("show", "winclip", "--category", "a/b").exception, PromptError)


def test_check_counts_the_sentences_of_good_banks(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text('categories = ["bracket"]' + GOOD)
    result = run("check", path)
    assert result.exit_code == 0
    assert result.output == f"{path}: ok, 2 normal, 1 anomalous sentences\n"


def test_check_names_every_bad_bank_and_still_checks_the_rest(tmp_path):
    (tmp_path / "a.toml").write_text(GOOD.replace('"bent {}"', '"bent"'))
    (tmp_path / "b.toml").write_text(GOOD)
    result = run("check", tmp_path / "a.toml", tmp_path / "b.toml", tmp_path / "c.toml")
    assert "b.toml: ok" in result.output
    assert result.exit_code == 2
    first, second = result.stderr.splitlines()
    assert "a.toml: states.anomalous has 'bent'" in first
    assert "c.toml cannot be read" in second


@pytest.mark.parametrize("args", [("list",), ("show", "medical", "--category", "skin")])
def test_no_torch_is_imported(args):
    code = (
        "import sys; from vlad.commands.prompts import prompts;"
        f"prompts({args!r}, standalone_mode=False);"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def bank_of(words, **more):
    extra = "".join(f"{key} = {value}\n" for key, value in more.items())
    return (
        f'title = "t"\nsource = "s"\nlicence = "CC0-1.0"\ntemplates = ["a photo of {{}}."]\n{extra}'
        f'[states]\nnormal = ["{"very " * words}good {{}}"]\nanomalous = ["broken {{}}"]\n'
    )


def test_check_tells_sentences_that_are_longer_than_clip_reads(tmp_path):
    # start, "a photo of", "good object", a full stop and the end are 8 tokens
    (tmp_path / "fits.toml").write_text(bank_of(69))
    (tmp_path / "long.toml").write_text(bank_of(70))
    assert run("check", tmp_path / "fits.toml").exit_code == 0
    result = run("check", tmp_path / "long.toml")
    assert result.exit_code == 2
    assert "1 of 2 sentences have more than the 77 tokens" in result.output
    assert "'a photo of very very" in result.output
