"""vlad train without images: HFTT's steps, and the command from words to a detector."""

import csv

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from vlad.adapters import read_adapter
from vlad.adapters.cards import read_card
from vlad.cli import main
from vlad.errors import TrainingError
from vlad.training.from_text import fit, load_texts, text_losses
from vlad.training.loop import make_optimiser
from vlad.training.recipe import load_recipe

HALF = {"text_task": 0.5, "text_words": 0.5}


@pytest.fixture
def words(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("chair\nriver\n\nnut\nviolin\nchair\ncloud\n")
    return file


@pytest.fixture
def run(small_file, words, tmp_path):
    recipe = tmp_path / "hftt.toml"
    recipe.write_text(
        'head = "hftt"\nepochs = 3\nbatch_size = 3\n[params]\nvectors = 2\n'
        '[optimiser]\nname = "sgd"\nlr = 1.0\nmomentum = 0.9\n'
        "[losses]\ntext_task = 0.5\ntext_words = 0.5\n"
    )

    def run(out, *args, recipe=recipe):
        said = ["train", recipe, "--backbone", small_file, "--device", "cpu", "--out", out]
        said += ["--licence", "CC0-1.0", "--vocabulary", words, *args]
        return CliRunner().invoke(main, [str(word) for word in said])

    return run


def test_parity(parity):
    """Losses, first gradient and vectors of the authors' program over four steps."""
    case = {name: torch.from_numpy(x) for name, x in parity.case("hftt").items()}
    task, sentences = case["task_classes"].T, case["task_text"]
    batches = case["words"].split(64)
    learned = torch.nn.Parameter(case["trainable0"].T.clone())
    first = text_losses(learned, task, sentences, batches[0], 0.01)
    sum(HALF[name] * x for name, x in first.items()).backward()
    np.testing.assert_allclose(learned.grad.T, case["grad1"], atol=3e-5, rtol=0)
    optimiser = make_optimiser(load_recipe("hftt").optimiser, [learned])
    found = [x["loss"] for x in fit(learned, task, sentences, batches, HALF, optimiser, 0.01)]
    np.testing.assert_allclose(found, case["loss"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(learned.detach().T, case["trainable_final"], atol=1e-3, rtol=0)


def test_words_that_look_like_the_task_weigh_more():
    axes = torch.eye(4)
    words = torch.stack([axes[0], axes[1]])  # one as the task, one as the learned vector
    found = text_losses(axes[1:2], axes[:1], axes[:1], words, 1.0)
    p = torch.tensor([1.0, 0.0]).softmax(0)[1]  # of the learned vector, for the first word
    weights = torch.stack([1 - p, p])
    expected = -(weights * torch.stack([p, 1 - p]).log()).sum() / weights.sum()
    torch.testing.assert_close(found["text_words"], expected)


def test_an_adapter_that_scores_without_a_category(run, small_file, category, tmp_path):
    out = tmp_path / "adapter"
    done = run(out, "--category", "nut", "--category", "metal bolt", "--bank", "april_gan")
    assert done.exit_code == 0, done.output
    assert "1 of 5 words are categories to learn" in done.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        "adapter.safetensors", "card.toml", "log.csv",
    ]  # fmt: skip
    card, adapter = read_card(out / "card.toml"), read_adapter(out / "adapter.safetensors")
    assert card["sha256"] == adapter.sha256
    assert adapter.auxiliary == "texts about nut, metal bolt"
    assert card["data"][adapter.auxiliary]["words"] == 4
    assert card["data"][adapter.auxiliary]["sentences"] == 2 * 245
    assert {name: len(x) for name, x in adapter.tensors.items()} == {"task": 2, "learned": 2}
    with open(out / "log.csv", newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 6  # 4 words by 3, three times
    assert card["curve"]["loss"][2] < card["curve"]["loss"][0]
    category(tmp_path / "data", normal=1)
    options = ["--head", "hftt", "--adapter", out, "--backbone", small_file, "--device", "cpu"]
    said = ["score", tmp_path / "data" / "test", *options, "--out", tmp_path / "run"]
    scored = CliRunner().invoke(main, [str(word) for word in said])
    assert scored.exit_code == 0, scored.output


def test_the_seed_alone_decides(run, tmp_path):
    for name, seed in {"one": 1, "same": 1, "other": 2}.items():
        assert run(tmp_path / name, "--category", "nut", "--seed", seed).exit_code == 0
    found = [
        read_adapter(tmp_path / name / "adapter.safetensors").tensors["learned"]
        for name in ("one", "same", "other")
    ]
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "name what normal images show"),
        (("--category", "nut", "--data", "visa"), "--data does not apply to the recipe hftt"),
        (("--category", "nut", "--resume"), "--resume does not apply"),
        (("--category", "{}"), "has no letter"),
        (("--category", "nut", "--vocabulary", "nowhere.txt"), "nowhere.txt is not a list"),
    ],
)
def test_what_does_not_fit_is_refused(run, tmp_path, args, message):
    done = run(tmp_path / "out", *args)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_recipe_of_images_takes_no_texts(run, tmp_path):
    done = run(tmp_path / "out", "--category", "nut", recipe="uniadet")
    assert done.exit_code == 2
    assert (
        "--category does not apply to the recipe uniadet, which learns from images" in done.stderr
    )


@pytest.mark.parametrize("content", [b"", b"nut\n", b"\xff", b"a\x00b", b"x" * 101])
def test_files_that_are_no_list_of_words(tmp_path, content):
    file = tmp_path / "words.txt"
    file.write_bytes(content)
    with (
        pytest.raises(TrainingError, match="words"),
        pytest.warns(UserWarning) if content == b"nut\n" else pytest.MonkeyPatch.context(),
    ):
        load_texts(["nut"], vocabulary=file)


def test_the_words_that_ship():
    texts = load_texts(["gearwheel"])
    assert len(texts.words) > 1000
    assert list(texts.words) == sorted(texts.words)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mosaic = 0.5", "mosaic is about images"),
        ("[losses]\nmap_focal = 1.0", "map_focal is not a key here; use text_task"),
        ('[optimiser]\nname = "sgd"\nlr = 1.0\nbetas = [0.9, 0.9]', "betas is not a setting"),
        ("[optimiser]\nlr = 1.0\nmomentum = 0.9", "momentum is not a setting"),
    ],
)
def test_keys_that_do_not_fit(tmp_path, line, message):
    tables = {
        "optimiser": '[optimiser]\nname = "sgd"\nlr = 1.0',
        "losses": "[losses]\ntext_task = 1.0",
    }
    top = "" if line.startswith("[") else line
    kept = [text for name, text in tables.items() if not line.startswith(f"[{name}]")]
    file = tmp_path / "mine.toml"
    whole = ['head = "hftt"\nepochs = 1\nbatch_size = 4', top, *kept, line if not top else ""]
    file.write_text("\n".join(whole))
    with pytest.raises(TrainingError, match=message):
        load_recipe(file)
