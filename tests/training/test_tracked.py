"""Training with --log: what the tracker gets, and that nothing else changes."""

import csv

import pytest
import torch
from recorder import record
from safetensors.torch import load_file


def same(one, two):
    one, two = (load_file(out / "adapter.safetensors") for out in (one, two))
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def rows(out):
    with open(out / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_losses_and_held_out_figures_are_those_of_log_and_card(run, tmp_path, monkeypatch):
    recorder = record(monkeypatch)
    plain, tracked = tmp_path / "plain", tmp_path / "tracked"
    assert run(plain, "--hold-out", "nut").exit_code == 0
    done = run(tracked, "--hold-out", "nut", "--log", "mlflow")
    assert done.exit_code == 0, done.output
    assert same(plain, tracked)
    log = rows(tracked)
    for column, figure in {"loss": "train/loss", "map_focal": "train/map_focal"}.items():
        assert recorder.of(figure) == [
            (int(row["step"]), pytest.approx(float(row[column]), rel=1e-5)) for row in log
        ]
    steps = [int(row["step"]) for row in log]
    ends = [max(s for s, r in zip(steps, log, strict=True) if r["epoch"] == e) for e in "123"]
    assert [step for step, _ in recorder.of("held out/nut image_auroc")] == ends
    assert recorder.settings["recipe.optimiser.lr"] == 0.01
    assert recorder.settings["hold-out"] == "['nut']"
    assert recorder.ended == 1


def test_a_tracker_that_goes_away_does_not_stop_a_training(run, tmp_path, monkeypatch):
    record(monkeypatch, "log")
    done = run(tmp_path / "out", "--log", "mlflow")
    assert done.exit_code == 0, done.output
    assert done.stderr.count("Warning: mlflow failed (no answer to log); the command goes on") == 1
    assert len(rows(tmp_path / "out")) == 9


def test_a_missing_tracker_is_said_before_the_work(run, tmp_path, monkeypatch):
    monkeypatch.setattr("vlad.system.tracking.find_spec", lambda name: None)
    done = run(tmp_path / "out", "--log", "wandb")
    assert done.exit_code == 2
    assert "wandb is not installed; install it with `pip install wandb`." in done.stderr
    assert not (tmp_path / "out").exists()


def test_files_of_tensorboard_do_not_stop_another_try(run, tmp_path):
    out = tmp_path / "out"
    (out / "tensorboard").mkdir(parents=True)
    assert run(out).exit_code == 0
