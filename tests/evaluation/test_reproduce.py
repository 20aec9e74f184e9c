"""What keeps a figure from being judged: another backbone, adapter, data set or precision."""

import json
from dataclasses import replace

import pytest

from vlad.adapters import find_adapter, read_adapter, save_adapter
from vlad.errors import AdapterError, InputError, OutputError
from vlad.evaluation.published import read_published
from vlad.evaluation.reproduce import Asked, check_adapters, measure, open_set
from vlad.evaluation.reproduction import Missing
from vlad.scoring.setup import Setup

FIGURES = """
[[data]]
name = "mvtec"
title = "MVTec AD"
categories = ["bolt", "nut"]
test_images = 8
where = "https://example.org"
licence = "CC0"

[[method]]
head = "memory"
backbone = "vlad-tiny"

[[method]]
head = "uniadet"
backbone = "vlad-tiny"
adapter = { mvtec = "uniadet-visa" }

[[figure]]
head = "memory"
data = "mvtec"
k_shot = 2
kind = "paper"
source = "a paper"
target = true
image_auroc = 50.0

[[figure]]
head = "uniadet"
data = "mvtec"
kind = "paper"
source = "a paper"
target = true
image_auroc = 50.0
"""
KNOWN = read_published(FIGURES)


@pytest.fixture
def sets(category, tmp_path):
    for name in ("bolt", "nut"):
        category(tmp_path / "sets" / name, normal=2)
    return tmp_path / "sets"


@pytest.fixture
def measured(sets, tmp_path):
    """The one result of a head, with what it is not judged for."""

    def run(head="memory", known=KNOWN, setup=None, **asked):
        setup = setup or Setup(device="cpu")
        given = Asked(setup, tmp_path / "out", (0,), **asked)
        (found,) = measure(
            known, known.methods[head], open_set(known.data["mvtec"], str(sets)), given
        )
        return found

    return run


@pytest.fixture
def adapter(tmp_path):
    """An adapter of uniadet with a name, which says what it was trained on."""

    def make(name, auxiliary):
        own = replace(read_adapter(find_adapter("vlad-tiny-uniadet")), auxiliary=auxiliary)
        save_adapter(own, tmp_path / "adapters" / name)
        return str(tmp_path / "adapters" / name)

    return make


def test_the_published_protocol_is_judged(measured):
    found = measured()
    assert not found.differs and not found.assumed
    assert found.judged == ["image_auroc"]


@pytest.mark.parametrize(
    ("name", "auxiliary", "said"),
    [
        ("uniadet-visa", "VisA", []),
        (
            "uniadet-visa",
            "MVTec AD",
            ["The adapter uniadet-visa was trained on MVTec AD, which is measured."],
        ),
        (
            "uniadet-visa",
            "leather",
            ["The adapter uniadet-visa says that it was trained on leather."],
        ),
        ("mine", "VisA", ["The adapter is mine, trained on VisA, not uniadet-visa."]),
    ],
)  # fmt: skip
def test_only_the_published_adapter_is_judged(measured, adapter, name, auxiliary, said):
    assert measured("uniadet", adapters=[adapter(name, auxiliary)]).differs == said


def test_another_adapter_at_the_same_place_is_not_taken_for_the_measured_one(measured, adapter):
    place = adapter("uniadet-visa", "VisA")
    measured("uniadet", adapters=[place])
    adapter("uniadet-visa", "VisA and others")
    with pytest.raises(OutputError, match="started with other settings"):
        measured("uniadet", adapters=[place])


def test_a_missing_adapter_is_said(measured):
    found = measured("uniadet")
    assert isinstance(found, Missing) and "uniadet-visa" in found.reason
    assert "GB" not in found.reason  # the weights are not what is missing


def test_adapters_that_nothing_uses_are_refused(adapter):
    methods = [KNOWN.methods["memory"]]
    asked = Asked(Setup(), None, (0,), adapters=[adapter("mine", "VisA")])
    with pytest.raises(InputError, match="is for head uniadet, which is not measured"):
        check_adapters(methods, asked)
    asked = replace(asked, adapters=[adapter("a", "VisA"), adapter("b", "VisA")])
    with pytest.raises(InputError, match="are both adapters of head uniadet"):
        check_adapters([KNOWN.methods["uniadet"]], asked)
    with pytest.raises(AdapterError, match="Unknown adapter"):
        check_adapters(methods, replace(asked, adapters=["nowhere"]))


def test_other_categories_are_not_judged(measured, sets):
    (sets / "nut").rename(sets / "screw")
    assert measured().differs == [
        "MVTec AD here lacks 1 of 2 categories: nut.",
        "MVTec AD has no category screw.",
    ]


def test_a_set_with_images_missing_is_not_judged(measured, sets):
    next((sets / "nut" / "test" / "good").iterdir()).unlink()
    assert measured().differs == ["MVTec AD has 8 test images, here are 7."]


def test_an_image_that_cannot_be_read_is_said(measured, sets):
    next((sets / "nut" / "test" / "good").iterdir()).write_bytes(b"none")
    assert measured().differs == ["1 image could not be read."]


def test_too_few_normal_images_are_said_and_others_are_measured(measured, sets):
    for image in list((sets / "nut" / "train" / "good").iterdir())[1:]:
        image.unlink()
    found = measured()
    assert isinstance(found, Missing) and "normal images" in found.reason


@pytest.mark.parametrize(
    ("backbone", "assumed", "differs"),
    [
        ("ViT-B-16={}", ["The weights are those in w.pt, taken for ViT-B-16/openai."], []),
        ("ViT-B-16", [], ["The backbone is ViT-B-16, not ViT-B-16/openai."]),
        ("ViT-B-32={}", [], ["The backbone is ViT-B-32=w.pt, not ViT-B-16/openai."]),
        ("{}", [], ["The backbone is w.pt, not ViT-B-16/openai."]),
    ],
)
def test_weights_from_a_file_are_taken_for_the_models_and_said(
    measured, monkeypatch, tmp_path, backbone, assumed, differs
):
    import vlad.scoring.setup

    load = vlad.scoring.setup.load_backbone
    monkeypatch.setattr(vlad.scoring.setup, "load_backbone", lambda *_: load("vlad-tiny", "cpu"))
    monkeypatch.setattr(vlad.scoring.setup, "describe_remote", lambda *_: None)
    (tmp_path / "w.pt").write_bytes(b"")
    text = FIGURES.replace('backbone = "vlad-tiny"', 'backbone = "ViT-B-16/openai"', 1)
    found = measured(known=read_published(text), backbone=backbone.format(tmp_path / "w.pt"))
    assert (found.assumed, found.differs) == (assumed, differs)
    assert str(tmp_path) not in found.verdict


def test_a_head_that_cannot_be_judged_says_why(measured):
    text = FIGURES.replace(
        '"memory"\nbackbone',
        '"memory"\ndiffers.mvtec = "Otherwise."\ndiffers.visa = "No."\nbackbone',
    )
    found = measured(known=read_published(text))
    assert found.verdict == "not judged: Otherwise."


def test_parameters_of_one_set(measured, tmp_path):
    more = 'params_for = { mvtec = { rotations = 2 }, visa = { rotations = 4 } }\nbackbone = "'
    measured(known=read_published(FIGURES.replace('backbone = "', more, 1)))
    settings = json.loads((tmp_path / "out" / "memory-mvtec" / "bench.json").read_text())
    assert settings["params"] == ["memory.rotations=2"]


def test_the_prompt_bank_of_the_method_is_used(measured, tmp_path):
    text = FIGURES.replace('"memory"', '"winclip"').replace("k_shot = 2", "k_shot = 0")
    text = text.replace('backbone = "', 'bank = "winclip_anomalib"\nbackbone = "', 1)
    found = measured("winclip", known=read_published(text))
    assert {row["bank"] for row in found.rows} == {"winclip_anomalib"}
    settings = json.loads((tmp_path / "out" / "winclip-mvtec" / "bench.json").read_text())
    assert settings["bank"] == "winclip_anomalib"


def test_a_given_tolerance_is_strict(measured):
    assert measured(tolerance=1.0).strict and not measured().strict


def test_another_run_in_the_folder_is_refused(measured):
    measured()
    with pytest.raises(OutputError, match="started with other settings"):
        measured(setup=Setup(device="cpu", dtype="bfloat16"))
