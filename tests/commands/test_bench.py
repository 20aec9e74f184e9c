"""vlad bench: every cell of the table once, whatever happens on the way."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from vlad.cli import main


@pytest.fixture
def tree(category, tmp_path):
    """Two data sets: "one" with two categories, "two" with one."""
    for root, name in (("one", "bolt"), ("one", "nut"), ("two", "cap")):
        category(tmp_path / root / name, normal=2)
    return tmp_path


@pytest.fixture
def run(small_file):
    def run(*args):
        options = ["--backbone", str(small_file), "--device", "cpu"]
        return CliRunner().invoke(main, ["bench", *map(str, args), *options])

    return run


def results(out):
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


PLAN = ["--head", "winclip,memory,musc", "--k-shot", "0,1,2", "--seeds", "0,1"]


def test_every_cell_once(run, tree):
    out = tree / "bench"
    done = run(tree / "one", tree / "two", *PLAN, "--out", out)
    assert done.exit_code == 0, done.output
    cells = [(r["category"], r["head"], r["k_shot"], r["seed"]) for r in results(out)]
    shots = [(1, 0), (1, 1), (2, 0), (2, 1)]
    expected = [("winclip", 0, 0), *(("winclip", *s) for s in shots)]
    expected += [("memory", *s) for s in shots] + [("musc", 0, 0)]
    assert sorted(cells) == sorted((c, *e) for c in ("bolt", "nut", "cap") for e in expected)
    table = pq.read_table(out / "bench.parquet").to_pylist()
    assert len(table) == 30
    text = (out / "bench.md").read_text()
    assert "## one, mean of 2 categories" in text and "## Mean of 2 data sets" in text
    assert "| musc (transductive) | 0 | 64 px |" in text
    assert "<td>memory</td><td>2</td>" in (out / "bench.html").read_text()


def test_figures_are_those_of_eval_and_of_plain_means(run, tree, small_file):
    out = tree / "bench"
    run(tree / "one", *PLAN, "--out", out)
    file = tree / "eval.json"
    options = ["--backbone", str(small_file), "--device", "cpu"]
    CliRunner().invoke(
        main,
        ["eval", str(tree / "one"), "--head", "memory", "--k-shot", "2", "--seed", "1",
         "--json", str(file), *options],
    )  # fmt: skip
    wanted = {r["category"]: r for r in json.loads(file.read_text())["results"]}
    found = [r for r in results(out) if (r["head"], r["k_shot"]) == ("memory", 2)]
    for row in found:
        if row["seed"] == 1:
            theirs = wanted[row["category"]]
            assert row["references"] == theirs["references"]
            for name, value in theirs["metrics"].items():
                assert row[f"metric.{name}"] == pytest.approx(value, abs=1e-6)
    means = [
        np.mean([100 * r["metric.image_auroc"] for r in found if r["seed"] == seed])
        for seed in (0, 1)
    ]
    cell = f"{np.mean(means):.1f} ± {np.std(means):.1f}"
    line = next(x for x in (out / "bench.md").read_text().splitlines() if "| memory | 2 |" in x)
    assert line.split(" | ")[3] == cell


def test_a_stopped_bench_goes_on(run, tree, monkeypatch):
    whole, out = tree / "whole", tree / "bench"
    run(tree / "one", *PLAN, "--out", whole)
    run(tree / "one", *PLAN, "--out", out)
    # as a kill while the second category's lines are written leaves it
    lines = (out / "results.jsonl").read_text().splitlines(keepends=True)
    (out / "results.jsonl").write_text("".join(lines[:12]) + lines[12][:30])
    (out / "bench.md").unlink()
    measured = []
    import vlad.bench

    real = vlad.bench.evaluate_category
    monkeypatch.setattr(
        vlad.bench,
        "evaluate_category",
        lambda tower, entries, category, *a, **o: (
            measured.append(category) or real(tower, entries, category, *a, **o)
        ),
    )
    done = run(tree / "one", *PLAN, "--out", out)
    assert done.exit_code == 0, done.output
    assert measured == ["nut"]

    def cells(folder):
        rows = pq.read_table(folder / "bench.parquet").to_pylist()
        return {(r["category"], r["head"], r["k_shot"], r["seed"]) for r in rows}

    assert cells(out) == cells(whole)
    assert (out / "bench.md").exists()
    done = run(tree / "one", "--head", "memory", "--out", out)
    assert done.exit_code == 2
    assert "other settings" in done.stderr


def test_options_from_a_file(run, tree):
    config = tree / "bench.toml"
    config.write_text(
        f'data = ["{(tree / "two").as_posix()}"]\nhead = "memory"\nk-shot = "1"\nseeds = "0"\n'
    )
    done = run("--config", config, "--out", tree / "bench")
    assert done.exit_code == 0, done.output
    assert [(r["head"], r["k_shot"]) for r in results(tree / "bench")] == [("memory", 1)]
    # the command line goes before the file
    done = run("--config", config, "--k-shot", "2", "--out", tree / "other")
    assert [r["k_shot"] for r in results(tree / "other")] == [2]
    config.write_text('heads = "memory"\n')
    done = run(tree / "two", "--config", config, "--out", tree / "third")
    assert done.exit_code == 2
    assert "has the key heads" in done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--k-shot", "1,x"], "--k-shot 1,x"),
        (["--k-shot", "1,1"], "different numbers"),
        (["--seeds", "-1"], "--seeds -1"),
        (["--head", "memory", "--k-shot", "0"], "above 0"),
        (["--head", "memory", "--k-shot", "9"], "9 normal pictures"),
        (["--head", "nonsense"], "no head"),
        (["--config", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_bad_input_is_one_sentence(run, tree, args, words):
    done = run(tree / "two", *args, "--out", tree / "bench")
    assert done.exit_code == 2, done.output
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_two_sets_of_one_name(run, tree):
    (tree / "other").mkdir()
    (tree / "two").rename(tree / "other" / "one")
    done = run(tree / "one", tree / "other" / "one", "--out", tree / "bench")
    assert done.exit_code == 2
    assert "rename" in done.stderr
