"""vlad bench: every cell of the table once, whatever happens on the way."""

import json
from html import unescape

import numpy as np
import pyarrow.parquet as pq
import pytest
from chat_server import MODEL, ChatServer
from click.testing import CliRunner
from PIL import Image
from recorder import record

import vlad.evaluation.bench
from vlad.cli import main
from vlad.metrics import auroc

PLAN = ["--head", "winclip,memory,musc", "--k-shot", "0,1,2", "--seeds", "0,1"]


def test_every_cell_once(bench, sets, results):
    out = sets / "bench"
    done = bench(sets / "one", sets / "two", *PLAN, "--out", out)
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


def test_figures_are_those_of_eval_and_of_plain_means(bench, sets, small_file, results):
    out = sets / "bench"
    bench(sets / "one", *PLAN, "--out", out)
    file = sets / "eval.json"
    options = ["--backbone", str(small_file), "--device", "cpu"]
    CliRunner().invoke(
        main,
        ["eval", str(sets / "one"), "--head", "memory", "--k-shot", "2", "--seed", "1",
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


def test_a_stopped_bench_goes_on(bench, sets, monkeypatch):
    whole, out = sets / "whole", sets / "bench"
    bench(sets / "one", *PLAN, "--out", whole)
    bench(sets / "one", *PLAN, "--out", out)
    # as a kill while the second category's lines are written leaves it
    lines = (out / "results.jsonl").read_text().splitlines(keepends=True)
    (out / "results.jsonl").write_text("".join(lines[:12]) + lines[12][:30])
    (out / "bench.md").unlink()
    measured = []
    real = vlad.evaluation.bench.evaluate_category
    monkeypatch.setattr(
        vlad.evaluation.bench,
        "evaluate_category",
        lambda backbone, entries, category, *a, **o: (
            measured.append(category) or real(backbone, entries, category, *a, **o)
        ),
    )
    done = bench(sets / "one", *PLAN, "--out", out)
    assert done.exit_code == 0, done.output
    assert measured == ["nut"]

    def cells(folder):
        rows = pq.read_table(folder / "bench.parquet").to_pylist()
        return {(r["category"], r["head"], r["k_shot"], r["seed"]) for r in rows}

    assert cells(out) == cells(whole)
    assert (out / "bench.md").exists()
    done = bench(sets / "one", "--head", "memory", "--out", out)
    assert done.exit_code == 2
    assert "other settings" in done.stderr


def test_what_figures_must_not_be_compared_without(bench, sets, small_adapter):
    import os

    import torch

    out = sets / "bench"
    adapter = small_adapter("anomalyclip")
    done = bench(
        sets / "one", "--head", "winclip,musc,memory,anomalyclip", "--adapter", adapter,
        "--k-shot", "0,1", "--seeds", "0", "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    table = pq.read_table(out / "bench.parquet")
    assert str(table.schema.field("auxiliary").type) == "string"
    rows = {row["head"]: row for row in table.to_pylist()}
    facts = ("transductive", "auxiliary", "bank")
    assert {head: tuple(row[name] for name in facts) for head, row in rows.items()} == {
        "winclip": (False, None, "winclip"),
        "musc": (True, None, None),
        "memory": (False, None, None),
        "anomalyclip": (False, "nothing", "anomalyclip"),
    }
    row = rows["memory"]
    assert (row["layout"], row["dtype"], row["device"]) == ("mvtec", "float32", "cpu")
    assert (row["vlad"], row["torch"]) == (vlad.__version__, torch.__version__)
    assert row["cores"] == os.cpu_count() and row["cpu"] and row["threads"] >= 1
    assert row["image_size"] == 64 and row["peak_memory_mib"] > 100
    assert {name for name in row if name.startswith("bound.")} == {
        f"bound.{name}" for name in ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro")
    }
    assert {row[name] for row in rows.values() for name in row if "bound." in name} == {0}
    shown = (
        "layout: one: mvtec", "bank: winclip: winclip, anomalyclip: anomalyclip",
        "auxiliary: anomalyclip: nothing", "transductive: musc", "dtype: float32",
        f"vlad: {vlad.__version__}", f"torch: {torch.__version__}", "device: cpu",
        f"cpu: {row['cpu']}", f"cores: {os.cpu_count()}", f"threads: {row['threads']}",
    )  # fmt: skip
    text, page = (out / "bench.md").read_text(), unescape((out / "bench.html").read_text())
    for line in shown:
        assert f"- {line}\n" in text and f"<li>{line}</li>" in page
    assert "may be off" not in text


def test_what_is_too_large_to_keep_comes_with_its_bound(bench, sets, monkeypatch, results):
    from vlad.evaluation import evaluate_category
    from vlad.metrics import Streaming

    bench(sets / "two", *PLAN, "--out", sets / "exact")
    monkeypatch.setitem(evaluate_category.__kwdefaults__, "room", 100_000)
    monkeypatch.setattr(Streaming.__init__, "__kwdefaults__", {"buffer": 1000, "bins": 64})
    done = bench(sets / "two", *PLAN, "--out", sets / "bench")
    assert done.exit_code == 0, done.output
    bounds = []
    for found, exact in zip(results(sets / "bench"), results(sets / "exact"), strict=True):
        for name in ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro"):
            bounds.append(found[f"bound.{name}"])
            assert abs(found[f"metric.{name}"] - exact[f"metric.{name}"]) <= bounds[-1]
        assert found["metric.image_auroc"] == exact["metric.image_auroc"]
    assert min(bounds) > 0
    said = f"may be off by up to {100 * max(bounds):.2g}."
    assert said in (sets / "bench" / "bench.md").read_text()


def test_a_broken_image_is_named_once(bench, sets, results):
    (sets / "two" / "cap" / "test" / "good" / "1.png").write_bytes(b"broken")
    done = bench(sets / "two", *PLAN, "--out", sets / "bench")
    assert done.exit_code == 0, done.output
    assert done.stderr.count("Left out: ") == 1 and "1.png" in done.stderr
    assert {row["left_out"] for row in results(sets / "bench")} == {1}


def test_a_category_whose_images_changed_is_measured_again(bench, sets, tmp_path, results):
    args = (sets / "two", "--head", "memory", "--k-shot", 1, "--seeds", 0)
    args += ("--out", tmp_path / "bench")
    assert bench(*args).exit_code == 0
    before = results(tmp_path / "bench")
    assert "changed" not in bench(*args).output
    file = next(sets.rglob("two/cap/test/good/*.png"))
    Image.open(file).rotate(90).save(file)
    done = bench(*args)
    assert done.exit_code == 0 and "it is measured again" in done.output
    after = results(tmp_path / "bench")
    assert len(after) == len(before) == 1 and after[0]["files"] != before[0]["files"]
    assert "1 results" in done.output
    assert "changed" not in bench(*args).output


BANK = """
title = "Two states"
source = "written for this test"
licence = "Apache-2.0"
templates = ["a photo of {}"]

[states]
normal = ["a good {}"]
anomalous = ["a STATE {}"]
"""


def test_rows_of_an_edited_question_to_a_model_are_measured_again(bench, sets, tmp_path, results):
    question = tmp_path / "question.toml"
    text = (
        'title = "Mine"\nsource = "me"\nlicence = "Apache-2.0"\nblanks = []\ntext = "Is it WHAT?"'
    )
    question.write_text(text.replace("WHAT", "torn"))
    with ChatServer("Yes", logprobs={"Yes": -0.1, "No": -2.4}) as server:
        values = (f"model={server.url}", f"model_name={MODEL}", "windows=0", f"question={question}")
        args = (sets / "two", "--head", "vlm", "--k-shot", "0", "--seeds", "0")
        args += ("--out", tmp_path / "bench", *(x for v in values for x in ("--param", f"vlm.{v}")))
        assert bench(*args).exit_code == 0
        before, asked = results(tmp_path / "bench"), len(server.asked)
        assert "changed" not in bench(*args).output and len(server.asked) == asked
        question.write_text(text.replace("WHAT", "cut"))
        done = bench(*args)
    assert done.exit_code == 0 and "changed" in done.output
    assert server.asked[-1].text == "Is it cut?"
    assert results(tmp_path / "bench")[0]["prompts"] != before[0]["prompts"]


def test_rows_of_an_edited_prompt_bank_are_measured_again(bench, sets, tmp_path, results):
    bank = tmp_path / "own.toml"
    args = (sets / "one", "--head", "winclip,memory", "--k-shot", "0,1", "--seeds", "0")
    args += ("--bank", bank, "--out", tmp_path / "bench")
    bank.write_text(BANK.replace("STATE", "broken"))
    assert bench(*args).exit_code == 0
    before = results(tmp_path / "bench")
    # what the prompts do not say does not matter
    bank.write_text(BANK.replace("STATE", "broken").replace("Two states", "Another title"))
    assert "changed" not in bench(*args).output
    bank.write_text(BANK.replace("STATE", "scratched"))
    done = bench(*args)
    assert done.exit_code == 0 and "Prompts of bolt in one changed" in done.output
    after = results(tmp_path / "bench")
    assert pq.read_table(tmp_path / "bench" / "bench.parquet").num_rows == len(after) == len(before)
    seen = {row["prompts"] for row in before}
    assert not any(row["prompts"] in seen for row in after if row["head"] == "winclip")
    assert all(row["prompts"] is None for row in after if row["head"] == "memory")
    # as measured in a folder of its own
    assert bench(*args[:-1], tmp_path / "other").exit_code == 0
    for row, fresh in zip(after, results(tmp_path / "other"), strict=True):
        metrics = {name for name in row if name.startswith("metric.")}
        assert {n: row[n] for n in metrics} == {n: fresh[n] for n in metrics}


def test_image_scores_are_kept_and_tables_come_from_them_after_a_resume(bench, sets, results):
    args = (sets / "two", "--head", "memory,patchcore", "--k-shot", "1,2", "--seeds", "0,1")
    out = sets / "bench"
    assert bench(*args, "--out", out).exit_code == 0
    for row in results(out):
        assert row["ids"] == [f"test/{id}" for id in ("good/0", "good/1", "stain/4", "stain/5")]
        assert row["labels"] == [0, 0, 1, 1]
        assert auroc(row["scores"], row["labels"]) == row["metric.image_auroc"]
    names = ("bench.md", "bench.html", "bench.tex", "bench.csv", "bench.svg")
    before = {name: (out / name).read_bytes() for name in names}
    for name in before:
        (out / name).unlink()
    assert bench(*args, "--out", out).exit_code == 0
    assert {name: (out / name).read_bytes() for name in before} == before
    text = before["bench.md"].decode()
    assert "## two: 95 % intervals and comparison with the best head" in text
    table = pq.read_table(out / "bench.parquet").to_pylist()
    assert [row["scores"] for row in table] == [row["scores"] for row in results(out)]


def test_a_bench_without_image_scores_is_still_read(bench, sets, results):
    args = (sets / "two", "--head", "memory", "--k-shot", "1", "--seeds", "0")
    out = sets / "bench"
    bench(*args, "--out", out)
    new = ("ids", "labels", "scores", "corruption")
    rows = [{k: v for k, v in row.items() if k not in new} for row in results(out)]
    (out / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = bench(*args, "--out", out)
    assert done.exit_code == 0, done.output
    assert "measured by an earlier vlad" in (out / "bench.md").read_text()
    assert not (out / "bench.svg").exists()  # a single number of shots
    assert len(pq.read_table(out / "bench.parquet")) == len(results(out)) == 1


def test_corrupted_test_images(bench, sets, results):
    args = (sets / "two", "--head", "memory", "--k-shot", "1", "--seeds", "0")
    bench(*args, "--out", sets / "clean")
    done = bench(*args, "--corruptions", "noise,shift", "--out", sets / "bench")
    assert done.exit_code == 0, done.output
    rows = {row["corruption"]: row for row in results(sets / "bench")}
    assert list(rows) == [None, "noise", "shift"]
    (clean,) = results(sets / "clean")
    times = ("head_seconds", "backbone_seconds", "peak_memory_mib")
    assert all(rows[None][n] == clean[n] for n in clean if n not in times)
    # fitted on the same images as they are, scored on others
    assert rows["noise"]["references"] == clean["references"]
    assert rows["noise"]["scores"] != clean["scores"]
    # the mask moves with the image; drawn stains stand out wherever they are
    assert rows["shift"]["metric.pixel_auroc"] > clean["metric.pixel_auroc"] - 0.05
    text = (sets / "bench" / "bench.md").read_text()
    assert "## two: image AUROC on corrupted images" in text
    assert "- corruptions: noise, shift\n" in text
    done = bench(*args, "--out", sets / "bench")
    assert done.exit_code == 2 and "other settings (corruptions" in done.stderr


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("fog", "Unknown corruption 'fog'; choose from brightness, blur"),
        ("nois", "Did you mean noise?"),
        ("blur,blur", "names one twice"),
    ],
)
def test_wrong_corruptions_are_one_sentence(bench, sets, names, words):
    done = bench(sets / "two", "--corruptions", names, "--out", sets / "bench")
    assert done.exit_code == 2 and words in done.stderr


def test_a_shift_would_leave_boxes_behind(bench, sets):
    file = sets / "boxes.json"
    file.write_text("{}")
    args = ("--corruptions", "all", "--boxes", file, "--head", "filo")
    done = bench(sets / "two", *args, "--out", sets / "bench")
    assert done.exit_code == 2 and "the boxes of --boxes; leave one out" in done.stderr


def test_heads_that_need_more_normal_images_are_named(bench, sets, results):
    args = ("--head", "memory,mvg", "--seeds", "0", "--out", sets / "bench")
    done = bench(sets / "two", "--k-shot", "1,2", *args)
    assert done.exit_code == 0, done.output
    assert "head mvg needs 2 normal images; it is not measured with 1." in done.stderr
    cells = [(row["head"], row["k_shot"]) for row in results(sets / "bench")]
    assert cells == [("memory", 1), ("memory", 2), ("mvg", 2)]
    done = bench(sets / "two", "--k-shot", "1", "--head", "mvg", "--out", sets / "other")
    assert done.exit_code == 2 and "give --k-shot values above 1" in done.stderr


def test_a_tracker_gets_means_over_seeds_by_shots(bench, sets, monkeypatch, results):
    recorder = record(monkeypatch)
    done = bench(
        sets / "one",
        sets / "two",
        *PLAN,
        "--out",
        sets / "bench",
        "--log",
        "wandb",
    )
    assert done.exit_code == 0, done.output
    assert [step for step, _ in recorder.figures] == [0, 1, 2]
    rows = results(sets / "bench")
    for k, value in recorder.of("one/nut/memory/pixel_auroc"):
        wanted = [r["metric.pixel_auroc"] for r in rows
                  if (r["category"], r["head"], r["k_shot"]) == ("nut", "memory", k)]  # fmt: skip
        assert len(wanted) == 2
        assert value == pytest.approx(np.mean(wanted))
    assert [k for k, _ in recorder.of("one/nut/memory/pixel_auroc")] == [1, 2]
    assert [k for k, _ in recorder.of("mean/mean/musc/image_auroc")] == [0]
    assert recorder.settings["head"] == "winclip,memory,musc"
