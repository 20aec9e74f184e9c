"""A bank tuned on images: the planted state is found, and head winclip ranks as it was chosen."""

from collections import Counter

import pytest
import torch
from planted_clip import BANK, draw, plant
from sklearn.metrics import roc_auc_score

from vlad.backbones import load_backbone
from vlad.datasets import load_dataset
from vlad.errors import InputError, PromptError
from vlad.heads import load_head
from vlad.prompts import load_bank
from vlad.prompts.tuning import LEAST, Chosen
from vlad.scoring.panel import Panel
from vlad.scoring.setup import Setup
from vlad.training.states import candidates, check_counts, count, tune, tuned_text


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    file = tmp_path_factory.mktemp("banks") / "plates.toml"
    file.write_text(BANK, encoding="utf-8")
    return load_bank(file)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets") / "plate"
    draw(folder)
    data = load_dataset("mvtec", folder)
    return [*data.train("plate"), *data.test("plate")]


@pytest.fixture(scope="module")
def backbone(small_backbone, small_clip, bank, samples, tmp_path_factory):
    panel = Panel(small_backbone, {"laft": load_head("laft")})
    prepared = [panel.prepare(Setup().open_image(sample.path)) for sample in samples]
    (features,) = panel.extractor.extract(prepared, list(panel.specs.values()))
    prompts = bank.expand("plate")
    file = tmp_path_factory.mktemp("planted") / "planted.safetensors"
    labels = torch.tensor([sample.label or 0 for sample in samples])
    plant(small_clip, [*prompts.normal, *prompts.anomalous], features.image, labels, file)
    return load_backbone(str(file), device="cpu")


@pytest.fixture(scope="module")
def tuned(backbone, bank, samples):
    return tune(backbone, candidates(bank, [], "plate"), samples, Setup())


def test_the_planted_state_is_chosen(tuned):
    assert tuned.candidates.anomalous[tuned.chosen.anomalous[0]] == "stained {}"
    assert tuned.checked.proven and tuned.checked.anomalous[1] == tuned.checked.halves == 40
    assert tuned.counts == {0: 24, 1: 24} and not tuned.errors and not tuned.copies


def test_the_written_bank_ranks_as_it_was_chosen(tuned, backbone, bank, samples, tmp_path):
    file = tmp_path / "tuned.toml"
    text = tuned_text(tuned, [bank], "plate", "the tests")
    file.write_text(text, encoding="utf-8")
    made = load_bank(file)
    assert made.wording.normal == tuple(tuned.candidates.normal[i] for i in tuned.chosen.normal)
    assert "plates" in made.source and tuned.digest in made.source and "the tests" in made.source
    assert made.licence == "CC0-1.0"
    labels = [sample.label or 0 for sample in samples]

    def auroc(chosen):
        panel = Panel(backbone, {"winclip": load_head("winclip")}, bank=chosen)
        prepared = [panel.prepare(Setup().open_image(sample.path)) for sample in samples]
        return roc_auc_score(labels, panel.score(prepared, "plate")["winclip"].image_score)

    assert auroc(made) > 0.95 > auroc(bank)


def test_images_are_read_once_and_copies_and_broken_ones_left_out(
    backbone, bank, samples, tmp_path, monkeypatch
):
    from dataclasses import replace

    broken, copy = tmp_path / "broken.png", tmp_path / "copy.png"
    broken.write_bytes(b"no image")
    copy.write_bytes(samples[0].path.read_bytes())
    more = [replace(samples[0], path=broken), replace(samples[0], path=copy)]
    read, seen = [], []
    open_image = Setup.open_image
    monkeypatch.setattr(Setup, "open_image", lambda self, p: read.append(p) or open_image(self, p))
    found = candidates(bank, [], "plate")
    result = tune(backbone, found, [*samples, *more], Setup(batch_size=7), progress=seen.append)
    assert Counter(read).most_common(1)[0][1] == 1 and sum(seen) == len(samples) + 2
    assert list(result.errors) == [str(broken)] and result.copies == 1
    assert result.counts == {0: 24, 1: 24}


def test_batches_and_order_of_images_do_not_change_the_digest(tuned, backbone, bank, samples):
    found = candidates(bank, [], "plate")
    again = tune(backbone, found, samples[::-1], Setup(batch_size=5))
    assert again.digest == tuned.digest and again.chosen == tuned.chosen
    assert tune(backbone, found, samples[1:], Setup()).digest != tuned.digest


def test_copies_do_not_count_towards_the_least(backbone, bank, samples):
    few = [s for s in samples if s.label][: LEAST - 1]
    good = [s for s in samples if not s.label]
    with pytest.raises(InputError, match="24 normal images and 19 with a defect are too few"):
        tune(backbone, candidates(bank, [], "plate"), [*good, *few, few[0]], Setup())


@pytest.mark.parametrize("counts", [{0: 19, 1: 50}, {0: 50, 1: 19}, {}])
def test_too_few_images(counts):
    with pytest.raises(InputError, match=f"{LEAST} of each are needed"):
        check_counts(Counter(counts))


def test_least_images_are_enough(samples):
    check_counts(Counter({0: LEAST, 1: LEAST}))
    assert count(samples) == {0: 24, 1: 24}


def write(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    return load_bank(folder / name)


def test_states_of_other_banks_follow_in_the_same_templates(bank, tmp_path):
    text = BANK.replace('"bent {}"', '"bent {}", "dirty {}", "whole {}"').replace(
        '"whole {}"]\nanomalous', '"new {}"]\nanomalous'
    )
    other = write(tmp_path, "other.toml", text.replace("the {} here.", "this {}."))
    found = candidates(bank, [other], "plate")
    assert found.normal == ("{}", "clean {}", "whole {}", "new {}")
    assert found.anomalous[4:] == ("dirty {}",)
    assert found.left_out == ("whole {}",)  # normal in the bank to tune
    assert found.original == Chosen((0, 1, 2), (0, 1, 2, 3))
    assert "the new plate here." in found.prompts.normal
    assert not any("this" in sentence for sentence in found.prompts.normal)


def test_a_state_that_a_bank_repeats_counts_twice(tmp_path):
    text = BANK.replace('"torn {}"', '"bent {}"').replace(
        "templates", 'duplicates = "on purpose"\ntemplates'
    )
    found = candidates(write(tmp_path, "twice.toml", text), [], "plate")
    assert found.anomalous == ("bent {}", "stained {}", "wet {}")
    assert found.original.anomalous == (0, 1, 0, 2)


def test_templates_that_differ_between_the_sides(tmp_path):
    text = BANK.replace('templates = ["a photo of a {}.", "the {} here."]', "").replace(
        "[states]", '[templates]\nnormal = ["a {}."]\nanomalous = ["the {}."]\n[states]'
    )
    with pytest.raises(PromptError, match=r"other templates on each side.*; choose another"):
        candidates(write(tmp_path, "sides.toml", text), [], "plate")


def test_a_name_in_words_is_fixed_in_the_tuned_bank(tuned, tmp_path):
    from dataclasses import replace

    readable = write(tmp_path, "names.toml", 'names = "readable"\n' + BANK)
    found = candidates(readable, [], "metal_nut")
    made = replace(tuned, candidates=found)
    again = write(tmp_path, "tuned.toml", tuned_text(made, [readable], "metal_nut", "the tests"))
    assert set(again.expand("metal_nut").normal) <= set(readable.expand("metal_nut").normal)
    assert again.expand("screw") == again.expand("metal_nut")
