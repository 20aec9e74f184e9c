"""vlad train on bad input: one sentence that says what and where, and nothing is lost."""

import math

import pytest
import torch
from PIL import Image

from vlad.adapters.cards import read_card
from vlad.errors import TrainingError
from vlad.training.checkpoint import CHECKPOINT, State, load_state, save_state
from vlad.training.learner import Learner


def test_out_that_holds_something_else(run, tmp_path):
    out = tmp_path / "adapter"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    done = run(out)
    assert done.exit_code == 2
    assert "holds other files (notes.txt)" in done.stderr
    assert (out / "notes.txt").read_text() == "mine"
    assert "no training" in run(tmp_path / "new", "--resume").stderr
    assert run(tmp_path / "twice").exit_code == 0
    done = run(tmp_path / "twice")
    assert (done.exit_code, "already holds an adapter" in done.stderr) == (2, True)


def test_known_targets_are_not_zero_shot(run, tree, tmp_path):
    done = run(tmp_path / "one", "--for-category", "nut")
    assert (done.exit_code, "nut is in the data" in done.stderr) == (0, True)
    done = run(tmp_path / "two", "--for-category", "screw")
    assert "Warning" not in done.stderr
    for kind in ("test/good/0.png", "test/stain/4.png"):  # the same image under another category
        (tree / "bolt" / kind).write_bytes((tree / "nut" / kind).read_bytes())
    done = run(tmp_path / "three", "--hold-out", "nut")
    assert "held-out images are also in the data (2, such as " in done.stderr


def test_images_that_cannot_be_read_are_left_out_and_named(run, tree, tmp_path):
    bad = tree / "nut" / "test" / "good" / "1.png"
    bad.write_bytes(bad.read_bytes()[:200])
    done = run(tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert f"Left out {bad}" in done.stderr
    assert "1 failed" in done.stderr
    assert str(bad) in (tmp_path / "out" / "left_out.csv").read_text()
    card = read_card(tmp_path / "out" / "card.toml")
    assert card["data"]["data"]["normal"] == 5
    assert str(bad) in card["left_out"][0]


def test_images_without_masks_train_the_image_score(run, tree, tmp_path):
    for category in ("bolt", "nut"):
        for mask in (tree / category / "ground_truth" / "stain").iterdir():
            mask.unlink()
    done = run(tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert read_card(tmp_path / "out" / "card.toml")["data"]["data"]["masks"] == 0


def test_a_mask_of_another_size(run, tree, tmp_path):
    mask = tree / "nut" / "ground_truth" / "stain" / "4_mask.png"
    Image.new("L", (9, 12), 255).save(mask)
    done = run(tmp_path / "out")
    assert done.exit_code == 2
    assert f"the mask {mask} has 9×12 pixels" in done.stderr


@pytest.mark.parametrize(("kind", "word"), [("stain", "anomalous"), ("good", "normal")])
def test_an_empty_class(run, tree, tmp_path, kind, word):
    for category in ("bolt", "nut"):
        for path in (tree / category / "test" / kind).iterdir():
            path.unlink()
    done = run(tmp_path / "out")
    assert done.exit_code == 2
    assert f"the data have no {word} images" in done.stderr


def test_a_loss_that_is_no_number(run, tmp_path, monkeypatch):
    before = Learner.forward
    calls = []

    def forward(self, batch):
        calls.append(1)
        losses = before(self, batch)
        return {n: x * math.nan for n, x in losses.items()} if len(calls) == 5 else losses

    monkeypatch.setattr(Learner, "forward", forward)
    done = run(tmp_path / "out")
    assert done.exit_code == 2
    assert "The loss is NaN or infinite in epoch 2, batch 2 (" in done.stderr
    assert done.stderr.count(".png") == 4
    state = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    assert state["steps"] == 3  # the end of the first epoch
    assert all(x.isfinite().all() for x in state["tensors"].values())
    assert not (tmp_path / "out" / "adapter.safetensors").exists()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
)
def test_too_little_memory(run, tmp_path, monkeypatch, error):
    def forward(self, batch):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "forward", forward)
        done = run(tmp_path / "out", head="adaclip")
    assert done.exit_code == 2
    assert "raise --accumulate (now 1) or add --gradient-checkpointing" in done.stderr
    resumed = run(tmp_path / "out", "--accumulate", "2", "--resume", head="adaclip")
    assert resumed.exit_code == 0, resumed.output


def test_what_cannot_go_together(run, tree, tmp_path, dinov2_folder):
    for args, words in [
        (("--hold-out", "screw"), "unknown category 'screw' to hold out; choose from bolt, nut"),
        (("--accumulate", "5"), "Batches of 4 cannot be split into 5 parts"),
        (("--image-size", "70"), "not a multiple"),
        (("--data", f"{tree}:0"), "give a number above 0"),
    ]:
        done = run(tmp_path / "out", *args)
        assert (done.exit_code, words in done.stderr) == (2, True), done.stderr
    assert run(tmp_path / "out", licence=" ").exit_code == 2
    done = run(tmp_path / "out", "--backbone", dinov2_folder, head="april_gan")
    assert (done.exit_code, "has no text encoder" in done.stderr) == (2, True)


def test_a_bit_of_a_checkpoint_that_turned(tmp_path):
    learned = torch.rand(64)
    save_state(tmp_path, State({"x": learned}), {})
    assert load_state(tmp_path, {}).tensors["x"].equal(learned)
    content = bytearray((tmp_path / CHECKPOINT).read_bytes())
    content[content.index(learned.numpy().tobytes())] ^= 1
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(TrainingError, match="is damaged; begin again"):
        load_state(tmp_path, {})
