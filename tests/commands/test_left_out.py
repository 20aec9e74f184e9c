"""No verb leaves out a file without a word, and each names it once."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from vlad.cli import main

HEAD = ["--head", "memory"]
# verb -> its arguments, and the folders of the set that it reads
VERBS = {
    "score": (["{}/test", "--normal", "{}/train", *HEAD, "--out", "{}/run"], ["test", "train"]),
    "fit": (["{}/train/good", *HEAD, "--out", "{}/run"], ["train"]),
    "eval": (["{}", *HEAD], ["test", "train", "ground_truth"]),
    "bench": (
        ["{}", *HEAD, "--k-shot", "1", "--seeds", "0", "--out", "{}/run"],
        ["test", "train", "ground_truth"],
    ),
    "train": (
        ["{}.toml", "--data", "{}", "--licence", "x", "--out", "{}/run"],
        ["test", "ground_truth"],
    ),
    "synth": (["{}/train/good", "--out", "{}/run"], ["train"]),
}
RECIPE = """
head = "uniadet"
epochs = 1
batch_size = 4
[optimiser]
lr = 0.01
[losses]
image_cross_entropy = 1.0
"""


@pytest.fixture
def run(small_file, tmp_path):
    """Runs a verb on the set -> what stands on stderr; it ends well."""
    (tmp_path / "set.toml").write_text(RECIPE)

    def run(verb):
        words = [word.format(tmp_path / "set") for word in VERBS[verb][0]]
        words += [] if verb == "synth" else ["--backbone", str(small_file), "--device", "cpu"]
        done = CliRunner().invoke(main, [verb, *words])
        assert done.exit_code == 0, done.output
        return done.stderr

    return run


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_no_image_to_us_is_named_once(run, verb, category, tmp_path):
    root = tmp_path / "set"
    category(root, normal=3)
    assert "passed over" not in run(verb)
    if (root / "run").exists():
        (root / "run").rename(tmp_path / "first")
    for folder in ("test/good", "train/good", "ground_truth/stain"):
        (root / folder / f"camera_{folder[:2]}.nef").write_bytes(b"raw")
    said = run(verb)
    for folder in ("test", "train", "ground_truth"):
        assert said.count(f"camera_{folder[:2]}.nef") == (folder in VERBS[verb][1])


@pytest.mark.parametrize("verb", ["eval", "bench", "train"])
def test_masks_that_cannot_count_are_named(run, verb, category, tmp_path):
    root = tmp_path / "set"
    category(root, normal=3)
    truth = root / "ground_truth/stain"
    thin = np.zeros(Image.open(truth / "4_mask.png").size[::-1], np.uint8)
    thin = np.kron(thin, np.ones((20, 20), np.uint8))
    thin[3, :40] = 255  # a twentieth of a pixel of the image
    Image.fromarray(thin).save(truth / "4_mask.png")
    (truth / "9_mask.png").write_bytes((truth / "5_mask.png").read_bytes())
    said = run(verb)
    assert said.count("too thin") == 1
    assert said.count("9_mask.png") == 1
    assert "missing or empty" not in said
