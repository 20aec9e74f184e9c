"""Networks fitted on normal images: when they stop, what they depend on, what they refuse."""

import numpy as np
import pytest
import torch

import vlad
from vlad.errors import HeadError
from vlad.heads import load_head, networks
from vlad.heads.networks import LEAST, PATIENCE, STEADY, fit_network
from vlad.types import Features

NORMED = ("simplenet", "dfr", "onenip")  # with running statistics
NAMES = (*NORMED, "inp_former")
SHORT = {"inp_former": {"steps": 5, "views": False}, "onenip": {"steps": 5}}


def features(count=4, grid=(3, 4), seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = 0.2 * torch.randn(count, grid[0] * grid[1], 16, generator=generator)
    return Features(None, {1: tokens, 2: tokens.tanh()}, grid=grid, size=(32, 32))


def fitted(name, count=4, normal=None, **params):
    short = SHORT.get(name, {"epochs": 5})
    return load_head(name, **{**short, **params}).fit(normal or features(count))


def run(images, losses=(), epochs=60, hold_out=0.2, batch=1, full=False):
    """(returned count of steps, every image stepped on, number of steps) of a network that counts.

    Image i holds the number i everywhere.
    """
    rows = torch.arange(float(images))[:, None, None].expand(images, 2, 3)
    tensors, seen, queue = {"steps": torch.zeros(1)}, [], iter(losses)

    def step(batch):
        tensors["steps"] += 1
        seen.extend(batch[::2, 0].tolist())

    def loss(held_out):
        assert not set(held_out[:, 0].tolist()) & set(seen)
        assert len(held_out) == 2 * round(hold_out * images)
        return torch.tensor(next(queue, 1.0))

    found = fit_network(
        "any",
        rows,
        tensors,
        step,
        loss,
        epochs=epochs,
        batch=batch,
        hold_out=hold_out,
        generator=torch.Generator().manual_seed(0),
        full=full,
    )
    return found["steps"].item(), seen, tensors["steps"].item()


def test_it_stops_by_held_out_images_and_returns_the_best():
    kept, seen, steps = run(LEAST, [0.9, 0.8, 0.5, 0.5, 0.7])
    a_pass = 8  # of ten images, two are held out
    assert len(set(seen)) == a_pass
    assert kept == 3 * a_pass
    assert steps == (3 + PATIENCE) * a_pass


def test_it_does_not_stop_while_running_statistics_lag():
    """The loss of the held-out images rises at first; 8 images are 2 steps of 4."""
    losses = [0.9, 0.8, *[0.9] * (STEADY // 2 - 1), 0.7]
    kept, _, steps = run(LEAST, losses, epochs=400, batch=4)
    assert kept == 2 * (STEADY // 2 + 2)
    assert steps == kept + STEADY


def test_a_smaller_batch_is_left_out_of_a_full_epoch():
    """Of seven images in steps of three one is left out; of two in steps of three none is."""
    kept, seen, _ = run(7, epochs=5, batch=3, full=True)
    assert kept == 10 and len(seen) == 5 * 6
    assert len(set(seen)) == 7  # another one every time
    kept, seen, _ = run(2, epochs=5, batch=3, full=True)
    assert kept == 5 and len(seen) == 5 * 2


@pytest.mark.parametrize(("images", "hold_out"), [(LEAST - 1, 0.2), (LEAST, 0)])
def test_without_held_out_images_it_runs_all_epochs(images, hold_out):
    kept, seen, steps = run(images, hold_out=hold_out, epochs=7)
    assert kept == steps == 7 * images
    assert sorted(seen) == sorted([*range(images)] * 7)


def test_a_loss_that_falls_to_the_end_runs_all_epochs():
    kept, _, steps = run(LEAST, [1 / n for n in range(1, 31)], epochs=30)
    assert kept == steps == 30 * 8


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_depends_on_images_and_seed_alone(name):
    normal = features(LEAST)
    first = fitted(name, normal=normal)
    torch.manual_seed(5)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            second = fitted(name, normal=normal)
    finally:
        torch.set_default_dtype(torch.float32)
    other = fitted(name, normal=normal, seed=1)
    assert any(not torch.equal(x, other.memory_[k]) for k, x in first.memory_.items())
    for key, x in first.memory_.items():
        assert x.dtype == torch.float32 and not x.requires_grad
        assert torch.equal(x, second.memory_[key])


@pytest.mark.parametrize("name", NORMED)
def test_scoring_leaves_running_statistics_as_they_are(name):
    head = fitted(name)
    before = {key: x.clone() for key, x in head.memory_.items()}
    first, second = (head.score(features(3, seed=2)) for _ in range(2))
    assert torch.equal(first.image_score, second.image_score)
    assert all(torch.equal(x, head.memory_[key]) for key, x in before.items())
    norm = next(key for key in before if key.endswith("running_mean"))
    assert before[norm].abs().max() > 0  # the fit has moved them


@pytest.mark.parametrize("name", [name for name in NAMES if name != "onenip"])
def test_images_of_another_grid_are_scored(name):
    found = fitted(name).score(features(2, grid=(5, 2)))
    assert found.anomaly_map.shape == (2, 32, 32)
    assert found.anomaly_map.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_one_image_is_enough(name):
    found = fitted(name, 1).score(features(2))
    assert found.image_score.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_features_without_numbers_are_refused(name):
    normal = features()
    normal.patches[2][1, 0, 0] = float("nan")
    normal.patches[1][3, 0, 0] = float("inf")
    with pytest.raises(HeadError, match="2 of 4 normal images have NaN"):
        load_head(name).fit(normal)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 4])
def test_features_that_are_the_same_everywhere_are_refused(name, count):
    # one place each: neighbourhoods at a border differ from those inside
    alike = Features(None, {1: torch.ones(count, 1, 16)}, grid=(1, 1), size=(32, 32))
    with pytest.raises(HeadError, match="same features"):
        load_head(name).fit(alike)


@pytest.mark.parametrize("name", NAMES)
def test_a_long_fit_shows_its_progress_and_a_short_one_does_not(name, monkeypatch, capsys):
    monkeypatch.setattr(networks, "SLOW", 1e9)
    fitted(name)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(networks, "SLOW", -1)
    fitted(name)
    assert f"{name}: fitted 5/5 epochs" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_detector_scores_as_before(name, small_file, drawn, tmp_path):
    options = {"backbone": str(small_file), "device": "cpu", **SHORT.get(name, {"epochs": 3})}
    made = vlad.load(name, **options).fit(drawn[:2])
    expected = made.score(drawn[3:])
    made.save(tmp_path / "saved")
    loaded = vlad.Detector.load(tmp_path / "saved")
    found = loaded.score(drawn[3:])
    np.testing.assert_array_equal(found.image_score, expected.image_score)
    np.testing.assert_array_equal(found.anomaly_map, expected.anomaly_map)
    assert loaded.head_.map_range == made.head_.map_range
