"""vlad prompts tune: what it writes, when it writes nothing, and what it refuses."""

import pytest
import torch
from click.testing import CliRunner
from planted_clip import BANK, draw, plant

from vlad.cli import main
from vlad.datasets import load_dataset
from vlad.heads import load_head
from vlad.prompts import load_bank
from vlad.scoring.panel import Panel
from vlad.scoring.setup import Setup


@pytest.fixture(scope="module")
def place(small_backbone, small_clip, tmp_path_factory):
    """A folder with plates, plates.toml, and planted.safetensors, a backbone that knows stains."""
    folder = tmp_path_factory.mktemp("tune")
    draw(folder / "plate")
    (folder / "plates.toml").write_text(BANK, encoding="utf-8")
    data = load_dataset("mvtec", folder / "plate")
    samples = [*data.train("plate"), *data.test("plate")]
    panel = Panel(small_backbone, {"laft": load_head("laft")})
    prepared = [panel.prepare(Setup().open_image(sample.path)) for sample in samples]
    (features,) = panel.extractor.extract(prepared, list(panel.specs.values()))
    prompts = load_bank(folder / "plates.toml").expand("plate")
    labels = torch.tensor([sample.label or 0 for sample in samples])
    sentences = [*prompts.normal, *prompts.anomalous]
    plant(small_clip, sentences, features.image, labels, folder / "planted.safetensors")
    return folder


@pytest.fixture
def tune(place):
    def run(*more, data="plate", bank="plates.toml"):
        words = ["prompts", "tune", place / data, "--bank", place / bank, "--device", "cpu"]
        words += ["--backbone", place / "planted.safetensors", *more]
        return CliRunner().invoke(main, list(map(str, words)))

    return run


def test_the_bank_with_the_planted_state_is_written(tune, place, tmp_path):
    done = tune("--out", tmp_path / "tuned.toml")
    assert done.exit_code == 0, done.output
    assert "24 good and 24 defective images, of 3 normal and 4 anomalous states" in done.output
    assert "The gain exceeds its noise" in done.output and "40 of 40" in done.output
    made = load_bank(tmp_path / "tuned.toml")
    assert made.wording.anomalous[0] == "stained {}"
    assert made.wording.templates == load_bank(place / "plates.toml").wording.templates
    for said in ("24 good and 24 defective images of plate", "planted", "image digest"):
        assert said in made.source
    checked = CliRunner().invoke(main, ["prompts", "check", str(tmp_path / "tuned.toml")])
    assert checked.exit_code == 0 and "ok" in checked.output


def test_nothing_is_written_without_a_proven_gain(tune, place, tmp_path):
    (place / "best.toml").write_text(
        BANK.replace('"bent {}", "stained {}", "torn {}", "wet {}"', '"stained {}"'),
        encoding="utf-8",
    )
    done = tune("--out", tmp_path / "tuned.toml", bank="best.toml")
    assert done.exit_code == 0, done.output
    assert "best is as good without tuning" in done.output
    assert "Nothing is written; add --anyway" in done.output
    assert not (tmp_path / "tuned.toml").exists()
    done = tune("--out", tmp_path / "tuned.toml", "--anyway", bank="best.toml")
    assert "as good without tuning" in done.output and load_bank(tmp_path / "tuned.toml")


def test_states_of_another_bank_may_be_chosen(tune, place, tmp_path):
    (place / "bare.toml").write_text(BANK.replace('"stained {}", ', ""), encoding="utf-8")
    more = ("--states", place / "plates.toml", "--out", tmp_path / "tuned.toml")
    done = tune(*more, bank="bare.toml")
    assert done.exit_code == 0, done.output
    assert "states of bare and plates" in done.output
    assert load_bank(tmp_path / "tuned.toml").wording.anomalous[0] == "stained {}"


def test_a_bank_that_exists_is_kept(tune, tmp_path):
    out = tmp_path / "mine.toml"
    out.write_text("mine", encoding="utf-8")
    done = tune("--out", out)
    assert done.exit_code == 2 and "add --overwrite to replace it" in done.output
    assert out.read_text() == "mine"
    assert tune("--out", out, "--overwrite").exit_code == 0
    assert load_bank(out)


def test_files_that_are_no_banks(tune, tmp_path):
    done = tune("--out", tmp_path / "mine.txt")
    assert done.exit_code == 2 and "does not end in .toml" in done.output


def test_too_few_images_are_refused_before_a_backbone_is_read(tmp_path):
    draw(tmp_path / "few", 19)
    words = [
        "prompts",
        "tune",
        tmp_path / "few",
        "--backbone",
        "nowhere.safetensors",
        "--out",
        "a.toml",
    ]
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == 2
    assert "19 normal images and 19 with a defect are too few" in done.output


def test_several_categories(tune, place, tmp_path):
    for name in ("plate", "cup"):
        draw(tmp_path / "set" / name, 20)
    done = tune("--out", tmp_path / "a.toml", data=tmp_path / "set")
    assert done.exit_code == 2
    assert "There are 2 categories (cup, plate); name one with --category" in done.output
    done = tune("--out", tmp_path / "a.toml", "--category", "cups", data=tmp_path / "set")
    assert done.exit_code == 2 and "Did you mean cup?" in done.output
    more = ("--category", "cup", "--words", "cup=plate", "--anyway")
    done = tune("--out", tmp_path / "a.toml", *more, data=tmp_path / "set")
    assert done.exit_code == 0, done.output
    assert "plates, tuned on plate" in load_bank(tmp_path / "a.toml").title


def test_a_backbone_without_text(place, dinov2_folder, tmp_path):
    words = ["prompts", "tune", place / "plate", "--backbone", dinov2_folder, "--out"]
    done = CliRunner().invoke(main, list(map(str, [*words, tmp_path / "a.toml"])))
    assert done.exit_code == 2 and "has no text encoder" in done.output


def test_unreadable_images_are_named(tune, tmp_path):
    draw(tmp_path / "plate", 21)
    (tmp_path / "plate" / "test" / "stain" / "00.png").write_bytes(b"no image")
    done = tune("--out", tmp_path / "a.toml", "--anyway", data=tmp_path / "plate")
    assert done.exit_code == 0, done.output
    assert "Left out" in done.output and "21 good and 20 defective" in done.output
