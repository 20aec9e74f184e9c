"""Figures sent to tracking programs."""

import sys
import warnings
from importlib.machinery import ModuleSpec

import pytest
from recorder import record

from vlad.commands.options.log import TRACKERS
from vlad.errors import InputError
from vlad.system import tracking


def test_the_option_names_the_trackers():
    assert TRACKERS == tracking.TRACKERS


def test_settings_are_flat_and_names_plain(monkeypatch, tmp_path):
    recorder = record(monkeypatch)
    with tracking.tracking("mlflow", tmp_path) as tracker:
        tracker.settings({"recipe": {"lr": 0.1, "losses": {"focal": 1}}, "size": None, "k": [1, 2]})
        tracker.log({"held out/nuß (1)/auroc": 0.5}, 3)
        assert not recorder.ended
    expected = {"recipe.lr": 0.1, "recipe.losses.focal": 1, "size": "None", "k": "[1, 2]"}
    assert recorder.settings == expected
    assert recorder.figures == [(3, {"held out/nu_ _1_/auroc": 0.5})]
    assert recorder.ended == 1


def test_without_a_name_nothing_is_tracked(tmp_path):
    with tracking.tracking(None, tmp_path) as tracker:
        assert tracker is None


def test_a_tracker_never_asks(monkeypatch, tmp_path):
    class Terminal:
        def isatty(self):
            return True

    recorder, terminal = record(monkeypatch), Terminal()
    monkeypatch.setattr(sys, "stdin", terminal)
    with tracking.tracking("wandb", tmp_path):
        assert recorder.asks is False
        assert sys.stdin is terminal


@pytest.mark.parametrize("found", [None, ModuleSpec("wandb", None)])  # a folder wandb/
def test_a_package_that_is_missing_is_named(monkeypatch, tmp_path, found):
    monkeypatch.setattr(tracking, "find_spec", lambda name: found)
    with (
        pytest.raises(InputError, match="wandb is not installed; install it with `pip install wa"),
        tracking.tracking("wandb", tmp_path),
    ):
        pass


def test_a_tracker_that_does_not_start_is_said(monkeypatch, tmp_path):
    record(monkeypatch, "start")
    with (
        pytest.raises(InputError, match=r"mlflow does not start \(no answer to start\); set its"),
        tracking.tracking("mlflow", tmp_path),
    ):
        pass


def test_a_tracker_that_fails_is_said_once_and_left(monkeypatch, tmp_path):
    recorder = record(monkeypatch, "log")
    with tracking.tracking("mlflow", tmp_path) as tracker:
        with pytest.warns(UserWarning, match=r"mlflow failed \(no answer to log\); the command"):
            tracker.log({"loss": 1.0}, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tracker.log({"loss": 1.0}, 2)
            tracker.settings({})
    assert recorder.settings is None


def test_tensorboard_reads_what_was_sent(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tracking.tracking("tensorboard", tmp_path) as tracker:
        tracker.settings({"recipe": {"lr": 0.1}, "data": ["a", "b"]})
        tracker.log({"train/loss": 0.5}, 1)
        tracker.log({"train/loss": 0.25}, 2)
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    assert [(e.step, e.value) for e in read.Scalars("train/loss")] == [(1, 0.5), (2, 0.25)]
    (settings,) = tmp_path.glob("tensorboard/*/hparams.yml")
    assert "recipe.lr: 0.1" in settings.read_text()
