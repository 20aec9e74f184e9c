"""Recipes in phases: what is learned when, at which rate, and that a stop changes nothing."""

import _thread
import csv

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from vlad.adapters.cards import read_card
from vlad.cli import main
from vlad.errors import TrainingError
from vlad.training.loop import Training, make_optimiser
from vlad.training.objectives import batch_losses
from vlad.training.recipe import load_recipe

PHASES = """
head = "uniadet"
batch_size = 5
[optimiser]
[[phases]]
epochs = 2
lr = { "patches.0" = 0.02, "patches.*" = 0.01 }
losses = { map_focal = 1.0 }
[[phases]]
epochs = 2
lr = { "image.*" = 0.03 }
losses = { image_cross_entropy = 1.0 }
"""


@pytest.fixture
def write(tmp_path):
    def write(text=PHASES):
        (tmp_path / "mine.toml").write_text(text)
        return tmp_path / "mine.toml"

    return write


@pytest.fixture
def train(write, tree, small_file):
    def train(out, *more, text=PHASES):
        words = ["train", write(text), "--data", tree, "--out", out, "--backbone", small_file]
        words += ["--device", "cpu", "--licence", "CC0-1.0", *more]
        return CliRunner().invoke(main, [str(word) for word in words])

    return train


def log(out):
    with open(out / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def each_epoch(monkeypatch):
    """The tensors after each epoch."""
    found, before = [], Training._finish_epoch

    def finish(self, images):
        before(self, images)
        found.append(self.state.tensors)

    monkeypatch.setattr(Training, "_finish_epoch", finish)
    return found


def test_each_phase_learns_its_tensors_by_its_losses(train, each_epoch, tmp_path):
    done = train(tmp_path / "out")
    assert done.exit_code == 0, done.output
    rows = log(tmp_path / "out")
    assert [row["lr"] for row in rows] == ["0.02"] * 4 + ["0.03"] * 4
    assert [bool(row["map_focal"]) for row in rows] == [True] * 4 + [False] * 4
    assert [bool(row["image_cross_entropy"]) for row in rows] == [False] * 4 + [True] * 4
    first, second, third, last = each_epoch
    for name, x in last.items():
        if name.startswith("image"):  # it waits for its phase
            assert not first[name].any()
            assert not second[name].any()
            assert third[name].any()
        else:
            assert not torch.equal(first[name], second[name])
            torch.testing.assert_close(x, second[name], atol=0, rtol=0)
    card = read_card(tmp_path / "out" / "card.toml")
    assert card["epochs"] == 4
    assert card["recipe"]["phases"][1]["lr"] == {"image.*": 0.03}


@pytest.mark.parametrize("steps", [3, 4, 5])  # before, at and after the end of the first phase
def test_a_stopped_training_goes_on_in_its_phase(train, monkeypatch, tmp_path, steps):
    before = Training._book

    def book(self, *args):
        before(self, *args)
        if self.state.steps == steps:
            _thread.interrupt_main()

    train(tmp_path / "straight")
    with monkeypatch.context() as patch:
        patch.setattr(Training, "_book", book)
        assert train(tmp_path / "stopped").exit_code == 130
    assert train(tmp_path / "stopped", "--resume").exit_code == 0
    one, two = (load_file(tmp_path / n / "adapter.safetensors") for n in ("straight", "stopped"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert [row["step"] for row in log(tmp_path / "stopped")] == [str(n) for n in range(1, 9)]


def test_rates_by_name_reach_the_optimiser(make_learner, write):
    learner, _ = make_learner("uniadet")
    recipe = load_recipe(write())
    optimiser = make_optimiser(recipe.optimiser, learner.groups(recipe.parts[0]))
    rates = {id(x): group["lr"] for group in optimiser.param_groups for x in group["params"]}
    tensors = learner.adapter.tensors
    assert rates[id(tensors["patches.0"])] == 0.02
    assert rates[id(tensors["patches.1"])] == 0.01
    assert id(tensors["image.0"]) not in rates


def test_what_no_phase_learns_and_what_is_not_there_is_said(train, tmp_path):
    done = train(tmp_path / "a", text=PHASES.replace("image.*", "image.0"))
    assert done.exit_code == 2
    assert "No phase of the recipe mine learns image.1" in done.output
    done = train(tmp_path / "b", text=PHASES.replace("image.*", "nothing.*"))
    assert done.exit_code == 2
    assert "has a name like 'nothing.*'; choose from" in done.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("batch_size", "epochs = 3\nbatch_size"), "epochs is given by each of the phases"),
        (("[optimiser]", "[optimiser]\nlr = 0.1"), "optimiser.lr is given by each of the phases"),
        (("epochs = 2\nlr", "lr"), r"phases\[0\].epochs is missing"),
        (('{ "image.*" = 0.03 }', "0.03"), r"phases\[1\].lr is not a table"),
        (('"image.*" = 0.03', '"image.*" = 0'), r"phases\[1\].lr.image.\* is 0"),
        (("map_focal", "map_vocal"), r"phases\[0\].losses.map_vocal is not a key"),
        (("epochs = 2\nlr", "speed = 2\nlr"), r"phases\[0\].speed is not a key"),
    ],
)
def test_faults_name_the_phase(write, change, message):
    with pytest.raises(TrainingError, match=message):
        load_recipe(write(PHASES.replace(*change)))


def test_dice_of_rows_is_the_mean_over_rows(make_learner):
    head = make_learner("filo")[0].head
    probability, mask = torch.rand(2, 4, 3), (torch.rand(2, 4, 3) > 0.5).float()
    head.layer_maps = lambda patches, grid, size: probability[:, None]

    class Logits:
        image, patches = torch.zeros(2), torch.zeros(2, 1, 12)

    names = ["map_dice_rows_anomalous", "map_dice_rows_normal"]
    every = torch.ones(2, dtype=torch.bool)
    found = batch_losses(names, head, Logits, torch.zeros(2), mask, every, (4, 3))
    for name, p, t in zip(names, (probability, 1 - probability), (mask, 1 - mask), strict=True):
        rows = [
            1 - (2 * (a * b).sum() + 1) / (a.sum() + b.sum() + 1)
            for a, b in zip(p.flatten(0, 1), t.flatten(0, 1), strict=True)
        ]
        assert found[name].item() == pytest.approx(float(sum(rows)) / 8, abs=1e-6)
