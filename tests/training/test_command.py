"""vlad train: from labelled images to an adapter that scores, on one process or several."""

import _thread
import csv
import json
import math
import subprocess
import sys
import warnings

import pytest
import torch
from accelerate import Accelerator
from click.testing import CliRunner
from safetensors.torch import load_file

from vlad.adapters import read_adapter
from vlad.adapters.cards import read_card
from vlad.cli import main
from vlad.errors import TrainingError
from vlad.training.adapter import train_adapter
from vlad.training.gather import load_data
from vlad.training.loop import Training
from vlad.training.recipe import load_recipe


def stop_after(monkeypatch, steps):
    """Ctrl-C in the middle of a step."""
    before = Training._book

    def book(self, *args):
        before(self, *args)
        if self.state.steps == steps:
            _thread.interrupt_main()

    monkeypatch.setattr(Training, "_book", book)


def rows(out):
    with open(out / "log.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def same(one, two):
    one, two = (load_file(out / "adapter.safetensors") for out in (one, two))
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_an_adapter_with_card_and_log(run, tree, small_file, tmp_path):
    out = tmp_path / "adapter"
    done = run(out)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in out.iterdir()) == [
        "adapter.safetensors", "card.toml", "log.csv",
    ]  # fmt: skip
    card = read_card(out / "card.toml")
    adapter = read_adapter(out / "adapter.safetensors")
    assert (card["licence"], card["auxiliary"], card["epochs"]) == ("CC0-1.0", "data", 3)
    assert card["sha256"] == adapter.sha256
    assert card["recipe"]["optimiser"]["lr"] == 0.01
    assert card["data"]["data"]["normal"] == 6
    assert card["data"]["data"]["anomalous"] == card["data"]["data"]["masks"] == 4
    log = rows(out)
    assert [row["step"] for row in log] == [str(n) for n in range(1, 10)]  # 10 images by 4
    assert [row["epoch"] for row in log] == [*"111222333"]
    assert all(math.isfinite(float(row["loss"])) for row in log)
    curve = card["curve"]["loss"]
    assert curve[2] < curve[0]
    mean = sum(float(r["loss"]) * n for r, n in zip(log[:3], (4, 4, 2), strict=True)) / 10
    assert curve[0] == pytest.approx(mean, rel=1e-4)
    verified = CliRunner().invoke(
        main, ["adapters", "verify", str(out), "--backbone", str(small_file)]
    )
    # the backbone's name is its file's
    assert verified.exit_code == 0, verified.output
    options = ["--head", "uniadet", "--adapter", out, "--backbone", small_file, "--device", "cpu"]
    words = ["score", tree / "nut" / "test", *options, "--out", tmp_path / "run"]
    scored = CliRunner().invoke(main, [str(word) for word in words])
    assert scored.exit_code == 0, scored.output
    measured = CliRunner().invoke(main, [str(word) for word in ["eval", tree, *options]])
    assert measured.exit_code == 0, measured.output
    assert "uniadet (trained on data)" in measured.stdout
    assert "was trained on bolt, nut; that is not zero-shot" in measured.stderr


@pytest.mark.parametrize(
    ("head", "more"),
    [
        ("uniadet", "mosaic = 0.5"),
        ("april_gan", ""),
        ("tipsomaly", ""),
        ("anomalyclip", "image_size = 96"),
        ("adaclip", "mosaic = 0.5"),
        ("adaptclip", ""),
    ],
)
def test_stopped_and_resumed_is_as_if_never_stopped(run, tmp_path, monkeypatch, head, more):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(whole, head=head, more=more).exit_code == 0
    with monkeypatch.context() as patch:
        stop_after(patch, 4)  # of three in an epoch
        stopped = run(broken, head=head, more=more)
    assert stopped.exit_code == 130
    assert "--resume" in stopped.stderr
    assert not (broken / "adapter.safetensors").exists()
    again = run(broken, head=head, more=more)
    assert again.exit_code == 2
    assert "--resume" in again.stderr
    resumed = run(broken, "--resume", head=head, more=more)
    assert resumed.exit_code == 0, resumed.output
    assert same(whole, broken)
    assert rows(whole) == rows(broken)
    cards = [read_card(out / "card.toml") for out in (whole, broken)]
    assert cards[0]["curve"] == cards[1]["curve"]


def test_seed_and_parts(run, tmp_path):
    for name, args in {
        "one": (), "same": (), "other": ("--seed", 6), "parts": ("--accumulate", 3),
    }.items():  # fmt: skip
        assert run(tmp_path / name, *args).exit_code == 0
    assert same(tmp_path / "one", tmp_path / "same")
    assert not same(tmp_path / "one", tmp_path / "other")
    one, parts = (load_file(tmp_path / n / "adapter.safetensors") for n in ("one", "parts"))
    for name, x in one.items():
        torch.testing.assert_close(parts[name], x, rtol=1e-3, atol=1e-4)


def test_norms_of_parts_are_said(run, tmp_path):
    whole = run(tmp_path / "whole", head="adaptclip")
    parts = run(tmp_path / "parts", "--accumulate", 2, head="adaptclip")
    assert whole.exit_code == parts.exit_code == 0
    said = "split into 2 parts, and the norms of adaptclip use the statistics of a part"
    assert said in " ".join(parts.stderr.split())
    assert "norms" not in whole.stderr
    card = read_card(tmp_path / "whole" / "card.toml")
    assert card["data"]["data"]["paired with"]["normal"] == 8


def test_a_head_that_learns_from_pairs_asks_for_them(small_backbone, tree, tmp_path):
    with pytest.raises(TrainingError, match="beside a normal one, but the data have no pairs"):
        train_adapter(
            load_recipe("adaptclip"),
            small_backbone,
            load_data([str(tree)], show=False),
            tmp_path / "out",
            licence="CC0-1.0",
            accelerator=Accelerator(cpu=True),
            image_size=64,
        )


def test_resume_with_other_settings(run, tree, tmp_path, monkeypatch):
    out = tmp_path / "adapter"
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        run(out)
    for args, options, words in [
        (("--seed", 6), {}, "another recipe (seed: 5 before, 6 now)"),
        (("--dtype", "bfloat16"), {}, "another backbone (dtype"),
        (("--hold-out", "nut"), {}, "another data"),
        ((), {"data": tree / "nut"}, "another data"),
        (("--image-size", "96"), {}, "another params"),
        (("--words", "nut=cap"), {}, "another words"),
        ((), {"head": "april_gan"}, "another params"),
    ]:
        done = run(out, "--resume", *args, **options)
        assert done.exit_code == 2, done.output
        assert words in done.stderr
    (out / "checkpoint.pt").write_bytes(b"PK")
    assert "damaged" in run(out, "--resume").stderr


def test_a_held_out_category_tells_the_best_epoch(run, tmp_path, monkeypatch):
    scores = iter([0.5, 0.9, 0.6, 0.7, 0.8])
    monkeypatch.setattr(
        "vlad.training.adapter.figures",
        lambda learner, held_out, reading: {"nut image_auroc": (s := next(scores)), "score": s},
    )
    learned = []
    before = Training._finish_epoch

    def finish(self, images):
        learned.append(self.learner.tensors())
        before(self, images)

    monkeypatch.setattr(Training, "_finish_epoch", finish)
    done = run(tmp_path / "out", "--hold-out", "nut", more="patience = 2")
    assert done.exit_code == 0, done.output
    card = read_card(tmp_path / "out" / "card.toml")
    assert card["best_epoch"] == 2
    assert card["figures"] == ["nut, held out: image_auroc 90.0"]
    assert card["params"]["categories"] == ["bolt"]
    kept = load_file(tmp_path / "out" / "adapter.safetensors")
    assert all(torch.equal(kept[name], learned[1][name]) for name in kept)


def test_figures_of_a_held_out_category_are_those_of_eval(run, tree, small_file, tmp_path):
    out = tmp_path / "out"
    done = run(out, "--hold-out", "nut")
    assert done.exit_code == 0, done.output
    options = ["--head", "uniadet", "--adapter", out, "--backbone", small_file, "--device", "cpu"]
    words = ["eval", tree / "nut", *options, "--json", tmp_path / "found.json"]
    assert CliRunner().invoke(main, [str(word) for word in words]).exit_code == 0
    (result,) = json.loads((tmp_path / "found.json").read_text())["results"]
    figures = read_card(out / "card.toml")["figures"]
    for name, x in result["metrics"].items():
        assert f"nut, held out: {name} {100 * x:.1f}" in figures


def test_a_head_that_needs_a_normal_image_is_measured_with_one(run, tree, tmp_path):
    out, backbone = tmp_path / "out", ["--backbone", "vlad-tiny", "--image-size", 64]
    done = run(out, *backbone, "--hold-out", "nut", head="metauas", more="[params]\nwidth = 32")
    assert done.exit_code == 0, done.output
    options = ["--head", "metauas", "--adapter", out, *backbone, "--device", "cpu", "--k-shot", 1]
    words = ["eval", tree / "nut", *options, "--json", tmp_path / "found.json"]
    assert CliRunner().invoke(main, [str(word) for word in words]).exit_code == 0
    (result,) = json.loads((tmp_path / "found.json").read_text())["results"]
    figures = read_card(out / "card.toml")["figures"]
    for name, x in result["metrics"].items():
        assert f"nut, held out: {name} {100 * x:.1f}" in figures


def test_images_to_draw_on_are_no_measure_of_a_head_that_needs_a_normal_image(run, tree, tmp_path):
    drawn = ["--synthetic", tree / "nut", "--hold-out", "nut"]
    done = run(
        tmp_path / "out", "--backbone", "vlad-tiny", *drawn, data=tree / "bolt", head="metauas"
    )
    assert done.exit_code == 2
    assert "the training split of nut, which is held out, has none" in " ".join(done.stderr.split())


def test_the_card_tells_what_the_adapter_is_better_than(run, tree, small_file, tmp_path):
    out = tmp_path / "out"
    done = run(out, "--hold-out", "nut")
    assert done.exit_code == 0, done.output
    against = read_card(out / "card.toml")["against"]
    assert list(against) == ["trained", "untrained", "prompts alone"]
    for name, options in (
        ("trained", ["--head", "uniadet", "--adapter", out]),
        ("prompts alone", ["--head", "winclip"]),
    ):
        words = ["eval", tree / "nut", *options, "--backbone", small_file, "--device", "cpu"]
        words += ["--json", tmp_path / "found.json"]
        assert CliRunner().invoke(main, [str(word) for word in words]).exit_code == 0
        (result,) = json.loads((tmp_path / "found.json").read_text())["results"]
        judged = [result["metrics"][metric] for metric in ("image_auroc", "pixel_ap")]
        assert against[name] == pytest.approx(50 * sum(judged), abs=0.06)


@pytest.mark.parametrize(("trained", "said"), [(0.4, True), (0.5, True), (0.6, False)])
def test_an_adapter_that_is_no_gain_is_said(run, tmp_path, monkeypatch, trained, said):
    monkeypatch.setattr(
        "vlad.training.adapter.compare",
        lambda *args: {"trained": trained, "untrained": 0.3, "prompts alone": 0.5},
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = run(tmp_path / "out", "--hold-out", "nut")
        assert done.exit_code == 0, done.output
    assert ("is no gain (trained" in done.output + str([w.message for w in caught])) == said


def test_a_training_without_held_out_images_says_that_nothing_tells(run, tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = run(tmp_path / "out")
    assert "No held-out image shows" in done.output + str([w.message for w in caught])
    assert read_card(tmp_path / "out" / "card.toml")["against"] == "unknown"


def test_a_training_under_the_callers_torch_state_is_the_same(run, tmp_path):
    assert run(tmp_path / "plain").exit_code == 0
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        done = run(tmp_path / "inside")
    assert done.exit_code == 0, done.output
    plain, inside = (load_file(tmp_path / x / "adapter.safetensors") for x in ("plain", "inside"))
    assert all(torch.equal(plain[name], inside[name]) for name in plain)


def test_patience_stops_early(run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "vlad.training.adapter.figures", lambda *args: {"nut image_auroc": 0.5, "score": 0.5}
    )
    run(tmp_path / "out", "--hold-out", "nut", more="patience = 1")
    card = read_card(tmp_path / "out" / "card.toml")
    assert (card["epochs"], card["best_epoch"]) == (2, 1)


def test_weights_and_precision(run, tree, tmp_path):
    done = run(tmp_path / "out", "--data", f"{tree / 'nut'}:2", "--dtype", "bfloat16")
    assert done.exit_code == 0, done.output
    card = read_card(tmp_path / "out" / "card.toml")
    assert card["auxiliary"] == "data + nut"
    assert card["dtype"] == "bfloat16"
    assert card["data"]["nut"]["weight"] == 2.0
    assert len(rows(tmp_path / "out")) == 3 * 5  # 10 and twice 5 images by 4


def test_a_backbone_without_text(run, dinov2_folder, tmp_path):
    done = run(tmp_path / "out", "--backbone", dinov2_folder)
    assert done.exit_code == 0, done.output


def test_a_cache_serves_several_trainings(run, tmp_path):
    cache = tmp_path / "cache"
    assert run(tmp_path / "one", "--cache", cache).exit_code == 0
    files = {path: path.stat().st_mtime_ns for path in cache.glob("*/*/*")}
    assert len(files) == 10
    assert run(tmp_path / "two", "--cache", cache).exit_code == 0
    assert files == {path: path.stat().st_mtime_ns for path in cache.glob("*/*/*")}
    assert same(tmp_path / "one", tmp_path / "two")


def test_two_processes_train_alike(run, tree, recipe, small_file, tmp_path, run_env):
    head = "adaclip"  # it has a tensor without gradients
    assert run(tmp_path / "one", head=head).exit_code == 0
    # what accelerate itself launches on several GPUs; on CPUs it asks for MPI
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = ["-m", "vlad", "train", recipe(head), "--data", tree, "--licence", "CC0-1.0"]
    words += ["--out", tmp_path / "two", "--backbone", small_file, "--device", "cpu"]
    done = subprocess.run(
        [*launch, *map(str, words)], env=run_env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tensors written") == 1
    log = [[float(row["loss"]) for row in rows(tmp_path / name)] for name in ("one", "two")]
    assert log[1] == pytest.approx(log[0], rel=1e-3)
    one, two = (load_file(tmp_path / n / "adapter.safetensors") for n in ("one", "two"))
    for name, x in one.items():  # tokens in float16 round up here and down there
        torch.testing.assert_close(two[name], x, rtol=1e-3, atol=1e-3)


def test_words_replace_the_names_of_categories_in_the_prompts(run, tree, tmp_path):
    def train(name, *args):
        done = run(tmp_path / name, *args, head="april_gan")
        assert done.exit_code == 0, done.output
        return tmp_path / name

    named = train("named", "--hold-out", "nut")
    (tree / "bolt").rename(tree / "01")
    (tree / "nut").rename(tree / "02")
    numbers = train("numbers", "--hold-out", "02")
    words = train("words", "--hold-out", "02", "--words", "01=bolt", "--words", "02=nut")
    assert same(words, named) and not same(numbers, named)
    cards = {out: read_card(out / "card.toml") for out in (named, numbers, words)}
    assert cards[words]["words"] == {"01": "bolt", "02": "nut"}
    assert "words" not in cards[named]
    # what held-out images show is read with these words, too
    curves = [{k: v for k, v in card["curve"].items() if " " not in k} for card in cards.values()]
    assert curves[2] == curves[0] != curves[1]
    assert cards[words]["against"] == cards[named]["against"]
    done = run(tmp_path / "other", "--words", "03=cap", head="april_gan")
    assert done.exit_code == 2 and "unknown category '03'" in done.stderr
