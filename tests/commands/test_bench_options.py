"""Options of vlad bench: lists, files of settings, words of categories, and wrong ones."""

import json

import pytest
from click.testing import CliRunner

from vlad.cli import main


@pytest.mark.parametrize(
    "lines",
    [
        "head = ['winclip', 'memory']\nk-shot = [1, 2]\nseeds = [0, 1]\nparam='memory.rotations=2'",
        "head = 'winclip, memory'\nk_shot = '1,2'\nseeds = [0, 1]\nparam = ['memory.rotations=2']",
    ],
)
def test_lists_in_a_file(bench, sets, lines, results):
    config = sets / "bench.toml"
    config.write_text(
        f"data = '{(sets / 'two').as_posix()}'\nout = '{(sets / 'bench').as_posix()}'\n"
        f"image-size = 64\n{lines}\n"
    )
    done = bench("--config", config)
    assert done.exit_code == 0, done.output
    cells = [(r["head"], r["k_shot"], r["seed"]) for r in results(sets / "bench")]
    draws = [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert cells == [(head, *draw) for head in ("winclip", "memory") for draw in draws]
    settings = json.loads((sets / "bench" / "bench.json").read_text())
    assert settings["params"] == ["memory.rotations=2"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("seeds = 3", None),
        ("backbone = ['a', 'b']", "backbone takes one value"),
        ("head = {winclip = 1}", "head must be a value or a list of values"),
        ("words = {cap = 1}", "words of a category must be text"),
        ("k-shot = [[1]]", "k-shot must be a value"),
        ("k-shot = [1, 1]", "different numbers"),
        ("k-shot = [1.5]", "--k-shot 1.5"),
        ("batch-size = 'many'", "'many' is not a valid integer"),
    ],
)
def test_settings_of_another_kind_are_one_sentence(sets, small_file, line, words):
    config = sets / "bench.toml"
    config.write_text(f"{line}\n")
    options = {"k-shot": "1", "head": "memory", "backbone": str(small_file), "device": "cpu"}
    options.pop(line.partition(" ")[0], None)  # the command line would go before the file
    given = [word for key, value in options.items() for word in (f"--{key}", value)]
    args = [
        "bench",
        str(sets / "two"),
        "--config",
        str(config),
        "--out",
        str(sets / "bench"),
    ]
    done = CliRunner().invoke(main, args + given)
    assert done.exit_code == (2 if words else 0), done.output
    assert "Traceback" not in done.output
    if words:
        assert words in done.stderr


def test_options_from_a_file(bench, sets, results):
    config = sets / "bench.toml"
    config.write_text(
        f'data = ["{(sets / "two").as_posix()}"]\nhead = "memory"\nk-shot = "1"\nseeds = "0"\n'
    )
    done = bench("--config", config, "--out", sets / "bench")
    assert done.exit_code == 0, done.output
    assert [(r["head"], r["k_shot"]) for r in results(sets / "bench")] == [("memory", 1)]
    # the command line goes before the file
    done = bench("--config", config, "--k-shot", "2", "--out", sets / "other")
    assert [r["k_shot"] for r in results(sets / "other")] == [2]
    config.write_text('heads = "memory"\n')
    done = bench(sets / "two", "--config", config, "--out", sets / "third")
    assert done.exit_code == 2
    assert "has the unknown key heads" in done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--k-shot", "1,x"], "--k-shot 1,x"),
        (["--k-shot", "1,1"], "different numbers"),
        (["--seeds", "-1"], "--seeds -1"),
        (["--head", "memory", "--k-shot", "0"], "above 0"),
        (["--head", "memory", "--k-shot", "9"], "k-shot is 9, but there are only 4 normal images"),
        (["--head", "nonsense"], "Unknown head"),
        (["--config", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_bad_input_is_one_sentence(bench, sets, args, words):
    done = bench(sets / "two", *args, "--out", sets / "bench")
    assert done.exit_code == 2, done.output
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_two_sets_of_one_name(bench, sets):
    (sets / "other").mkdir()
    (sets / "two").rename(sets / "other" / "one")
    done = bench(sets / "one", sets / "other" / "one", "--out", sets / "bench")
    assert done.exit_code == 2
    assert "rename" in done.stderr


@pytest.mark.parametrize("in_a_file", [False, True])
def test_words_of_categories(bench, sets, tmp_path, in_a_file, results):
    args = [sets / "one", "--head", "winclip", "--k-shot", "0", "--out", tmp_path / "bench"]
    config = tmp_path / "bench.toml"
    config.write_text('words = {bolt = "steel screw"}\n')
    given = ["--config", config] if in_a_file else ["--words", "bolt=steel screw"]
    done = bench(*args, *given)
    assert done.exit_code == 0, done.output
    rows = {row["category"]: row for row in results(tmp_path / "bench")}
    assert {name: row["words"] for name, row in rows.items()} == {
        "bolt": "steel screw", "nut": "nut",
    }  # fmt: skip
    assert rows["bolt"]["prompts"] != rows["nut"]["prompts"]
    assert json.loads((tmp_path / "bench" / "bench.json").read_text())["words"] == {
        "bolt": "steel screw"
    }
    assert "words: bolt: steel screw" in (tmp_path / "bench" / "bench.md").read_text()
    assert bench(*args, *given).exit_code == 0
    for other in ([], ["--words", "bolt=screw"]):
        done = bench(*args, *other)
        assert done.exit_code == 2 and "other settings (words" in done.stderr
    assert {row["category"]: row for row in results(tmp_path / "bench")} == rows


def test_words_of_an_unknown_category_name_the_nearest(bench, sets, tmp_path):
    done = bench(sets / "one", sets / "two", "--words", "cup=cover", "--out", tmp_path / "bench")
    assert done.exit_code == 2
    assert "unknown category 'cup'. Did you mean cap?" in done.stderr
    assert not (tmp_path / "bench").exists()
