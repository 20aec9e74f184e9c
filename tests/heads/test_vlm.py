"""The head vlm: what it asks about an image, what it makes of the answers, and of none."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import vlad
from vlad.errors import HeadError, ImageError, InputError, PromptError, VlmError
from vlad.heads import load_head, protocol, vlm_question
from vlad.heads.facts import head_facts
from vlad.scoring.export import backbone_graph
from vlad.scoring.panel import Panel
from vlad.scoring.record import record_of
from vlad.scoring.setup import Setup
from vlad.vlm import VLM, Choice, Reply

QUESTION = """title = "Mine"
source = "me"
licence = "Apache-2.0"
blanks = [{blanks}]
text = "{text}"
"""


class Brightness(VLM):
    """Says Yes as likely as the last image of a question is bright; notes what it was asked."""

    name, identity, batch = "brightness", "brightness", 4

    def __init__(self, silent=lambda image: False, tells=True):
        self.asked, self.silent, self.tells = [], silent, tells

    def weigh(self, requests, choices):
        assert choices == ("Yes", "No")
        self.asked += requests
        found = []
        for request in requests:
            p = brightness(request.images[-1])
            if self.silent(request.images[-1]):
                found.append(Choice(None, "", "no answer: the endpoint took longer than 2 s"))
            else:
                found.append(Choice((p, 1 - p) if self.tells else None, "Yes"))
        return found

    def write(self, requests, schema, max_tokens):
        self.asked += requests
        found = []
        for request in requests:
            p = brightness(request.images[-1])
            text = json.dumps({"anomalous": p > 0.5, "confidence": abs(2 * p - 1)})
            found.append(Reply("I will not say." if self.silent(request.images[-1]) else text))
        return found


def brightness(image):
    return float(np.asarray(image).mean()) / 255


def flat(value, size=(90, 60)):
    return Image.new("RGB", size, (value,) * 3)


@pytest.fixture
def asked(monkeypatch):
    """Makes the head ask the given model; returns it."""

    def use(model):
        monkeypatch.setattr(vlm_question, "load_vlm", lambda *_, **options: model)
        vlm_question.loaded.cache_clear()
        return model

    yield use
    vlm_question.loaded.cache_clear()


def detector(**params):
    return vlad.load("vlm", backbone="vlad-tiny", head_params={"model": "any", **params})


def test_the_score_is_the_probability_of_yes(asked):
    model = asked(Brightness())
    found = detector().score([flat(51), flat(204, (30, 70))])
    np.testing.assert_allclose(found.image_score, [0.2, 0.8], atol=1e-6)
    np.testing.assert_allclose(found.anomaly_map[1], 0.8, atol=1e-6)
    assert len(model.asked) == 2 * (1 + 4)


def test_the_keyword_that_it_sees_best_counts(asked):
    class Hears(Brightness):
        def weigh(self, requests, choices):
            found = super().weigh(requests, choices)
            dim = [0.5 if "a bicycle" in request.text else 1 for request in requests]
            both = [(x, choice.probabilities[0] * x) for x, choice in zip(dim, found, strict=True)]
            return [Choice((p, 1 - p), "Yes") for _, p in both]

    model = asked(Hears())
    found = detector(keywords=["a bicycle", "smoke"], windows=2)
    scores = found.score([flat(51), flat(204)])
    np.testing.assert_allclose(scores.image_score, [0.2, 0.8], atol=1e-6)
    np.testing.assert_allclose(scores.anomaly_map[1], 0.8, atol=1e-6)
    assert len(model.asked) == 2 * 2 * (1 + 4)
    assert detector(keywords="a bicycle").score(flat(204)).image_score == pytest.approx(0.4)
    assert "that it shows a bicycle or smoke" in protocol(found.head_)
    assert "image show a bicycle" in model.asked[0].text


def test_the_map_is_highest_where_windows_say_yes(asked):
    asked(Brightness())
    image = flat(0, (120, 120))
    image.paste((255, 255, 255), (80, 0, 120, 40))  # above, on the right
    (found,) = detector(windows=2).score(image).anomaly_map
    # 40² of the 80² pixels of the window above on the right
    assert found[0, -1] == pytest.approx(0.25, abs=1e-6) == found.max()
    assert found[-1, 0] == found[0, 0] == 0


def test_an_image_keeps_its_proportions_and_has_a_bound(asked):
    model = asked(Brightness())
    detector(windows=0).score([flat(9, (300, 200)), flat(9, (3000, 1000))])
    assert [request.images[0].size for request in model.asked] == [(300, 200), (1024, 341)]


def test_without_windows_it_marks_no_place(asked):
    model = asked(Brightness())
    found = detector(windows=0).score(flat(204))
    assert found.image_score == pytest.approx(0.8)
    assert (found.anomaly_map == 0).all()
    assert len(model.asked) == 1


def test_a_region_of_interest_needs_windows(asked, drawn, tmp_path):
    asked(Brightness())
    region = np.zeros(drawn[0].size[::-1], np.uint8)
    region[10:40, 10:40] = 255
    Image.fromarray(region).save(tmp_path / "roi.png")
    options = {"backbone": "vlad-tiny", "roi": str(tmp_path / "roi.png")}
    with pytest.raises(HeadError, match=r"vlm\.windows"):
        vlad.load("vlm", model="any", windows=0, **options).score(drawn[0])
    assert vlad.load("vlm", model="any", **options).score(drawn[0]).image_score > 0


def test_an_image_too_small_for_windows_stands_in_their_place(asked):
    model = asked(Brightness())
    found = detector().score(flat(204, (8, 4096)))
    np.testing.assert_allclose(found.anomaly_map, 0.8, atol=1e-6)
    assert [request.images[0].size for request in model.asked] == [(2, 1024)] * 5


def test_normal_images_stand_before_the_one_in_question(asked, drawn):
    model = asked(Brightness())
    detector(noun="hazelnut", windows=0).fit(drawn[:2]).score(drawn[4])
    (request,) = model.asked
    assert "2 normal images" in request.text and "hazelnut" in request.text
    assert len(request.images) == 3
    for mine, given in zip(request.images, [*drawn[:2], drawn[4]], strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(given))


def test_a_window_stands_beside_the_same_window_of_normal_images(asked):
    model = asked(Brightness())
    normal = flat(0, (60, 60))
    normal.paste((255, 255, 255), (0, 0, 20, 20))
    detector().fit([normal]).score(flat(9, (90, 30)))
    whole, *windows = model.asked
    assert brightness(whole.images[0]) == pytest.approx(1 / 9)
    assert [brightness(request.images[0]) for request in windows] == [0.25, 0, 0, 0]
    assert [request.images[1].size for request in windows] == [(60, 20)] * 4
    assert "cut out" in windows[0].text and "cut out" not in whole.text


def test_only_some_normal_images_are_shown_and_that_is_said(asked, drawn):
    model = asked(Brightness())
    with pytest.warns(UserWarning, match="the first 2 of 5 normal images; set vlm.shown"):
        made = detector(shown=2, windows=0).fit(drawn[:5])
    made.score(drawn[5])
    assert len(model.asked[0].images) == 3


def test_the_stated_confidence_counts_from_a_guess(asked):
    model = asked(Brightness())
    found = detector(answer="confidence").score([flat(51), flat(204)])
    np.testing.assert_allclose(found.image_score, [0.2, 0.8], atol=1e-6)
    assert "confidence" in model.asked[0].text


@pytest.mark.parametrize("answer", ["probability", "confidence"])
def test_an_image_without_an_answer_is_a_row_with_its_error(asked, answer):
    asked(Brightness(silent=lambda image: 0.3 < brightness(image) < 0.4))
    made = detector(answer=answer)
    rows = list(made.stream([flat(51), flat(90), flat(204)]))
    assert [row.error is None for row in rows] == [True, False, True]
    assert "no score of vlm (no answer: " in rows[1].error
    assert rows[2].image_score == pytest.approx(0.8, abs=1e-6)
    with pytest.raises(ImageError, match="no answer"):
        made.score(flat(90))


def test_a_window_without_an_answer_is_none_of_the_image(asked):
    asked(Brightness(silent=lambda image: image.size == (60, 40) and brightness(image) > 0.9))
    image = flat(0)
    image.paste((255, 255, 255), (0, 0, 60, 40))
    (row,) = detector().stream([image])
    assert "no answer" in row.error


def test_a_model_without_probabilities(asked):
    asked(Brightness(tells=False))
    (row,) = detector().stream([flat(51)])
    assert "set vlm.answer to confidence" in row.error


def test_tiles_have_one_error_of_the_first_without_an_answer(asked):
    asked(Brightness(silent=lambda image: brightness(image) > 0.9))
    image = flat(51, (200, 100))
    image.paste((255, 255, 255), (0, 0, 100, 100))
    made = vlad.load("vlm", model="any", windows=0, backbone="vlad-tiny", tile=100, overlap=0)
    first, second = made.stream([image, flat(51, (200, 100))])
    assert "no answer" in first.error and second.image_score == pytest.approx(0.2)


def test_what_it_needs(small_backbone):
    with pytest.raises(HeadError, match=r"set vlm\.model"):
        Panel(small_backbone, {"vlm": load_head("vlm")})
    for odd in ({"model": "http://127.0.0.1:1/v1"}, {"model": "any", "model_name": "a"}):
        with pytest.raises(HeadError, match=r"set vlm\.model_name for an endpoint"):
            Panel(small_backbone, {"vlm": load_head("vlm", **odd)})
    with pytest.raises(PromptError, match="Unknown prompt"):
        Panel(small_backbone, {"vlm": load_head("vlm", model="any", question="yes_nn")})


@pytest.mark.parametrize(
    ("param", "value"), [("windows", 1), ("answer", "logits"), ("shown", 0), ("noun", " ")]
)
def test_parameters_out_of_range(param, value):
    with pytest.raises(HeadError, match=param):
        load_head("vlm", model="any", **{param: value})


def test_a_question_of_ones_own(asked, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(QUESTION.format(blanks='"noun"', text="Is the {noun} torn?"))
    model = asked(Brightness())
    detector(question=str(file), noun="leather", windows=0).score(flat(51))
    assert model.asked[0].text == "Is the leather torn?"
    file.write_text(QUESTION.format(blanks='"kind"', text="Is it {kind}?"))
    with pytest.raises(HeadError, match="blank kind"):
        detector(question=str(file)).score(flat(51))
    file.write_text(QUESTION.format(blanks="", text="Is it torn?"))
    with pytest.raises(HeadError, match=r"no blank for a keyword; add \{noun\}"):
        detector(question=str(file), keywords="smoke").score(flat(51))


def test_another_question_is_another_setting(small_backbone, tmp_path):
    file = tmp_path / "mine.toml"
    records = []
    for text in ("Is it torn?", "Is it dirty?"):
        file.write_text(QUESTION.format(blanks="", text=text))
        panel = Panel(small_backbone, {"vlm": load_head("vlm", model="any", question=str(file))})
        records.append(record_of(panel, Setup(), ["nut"], {})["prompts"])
    assert records[0] != records[1]


def test_the_list_of_heads_says_that_it_needs_a_model():
    assert head_facts("vlm").needs == "a vision-language model; normal images optional"
    assert "model" not in head_facts("memory").needs


def test_its_protocol_says_what_the_score_is(asked, drawn):
    asked(Brightness())
    head = load_head("vlm", model="small-vlm")
    assert protocol(head) == "zero-shot, probability of Yes by small-vlm"
    head = load_head("vlm", model="http://127.0.0.1:1/v1", model_name="a", answer="confidence")
    assert protocol(head) == "zero-shot, stated confidence by a"
    assert protocol(detector().fit(drawn[:1]).head_).startswith("few-shot, probability")


def test_saved_and_loaded(asked, drawn, tmp_path, monkeypatch):
    monkeypatch.setenv("VLAD_VLM_KEY", "s3cr3t")
    model = asked(Brightness())
    made = detector(model="small-vlm", windows=0).fit(drawn[:2])
    expected = made.score(drawn[4])
    made.save(tmp_path / "made")
    kept = b"".join(file.read_bytes() for file in (tmp_path / "made").iterdir())
    assert b"small-vlm" in kept and b"s3cr3t" not in kept
    found = vlad.Detector.load(tmp_path / "made").score(drawn[4])
    assert found.image_score == expected.image_score
    first, second = model.asked
    assert first == second


def test_a_question_of_ones_own_is_saved_too(asked, drawn, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(QUESTION.format(blanks="", text="Is it torn?"))
    model = asked(Brightness())
    made = detector(question=str(file), windows=0).fit(drawn[:1])
    made.save(tmp_path / "first")
    file.unlink()
    vlad.Detector.load(tmp_path / "first").save(tmp_path / "second")
    shutil.rmtree(tmp_path / "first")
    vlad.Detector.load(tmp_path / "second").score(drawn[4])
    assert model.asked[-1].text == "Is it torn?"


def test_a_saved_detector_sends_images_only_where_the_user_said(
    asked, tmp_path, drawn, monkeypatch
):
    asked(Brightness())
    for address, name in (("http://127.0.0.1:9/v1", "here"), ("https://vlm.example/v1", "away")):
        detector(model=address, model_name="a").fit(drawn[:1]).save(tmp_path / name)
    vlad.Detector.load(tmp_path / "here")
    with pytest.raises(InputError, match=r"sends images to vlm\.example; set VLAD_VLM_HOST"):
        vlad.Detector.load(tmp_path / "away")
    monkeypatch.setenv("VLAD_VLM_HOST", "VLM.example")  # names of hosts have no case
    vlad.Detector.load(tmp_path / "away")


def test_a_model_that_cannot_be_asked_is_told_with_the_first_normal_images(drawn):
    vlm_question.loaded.cache_clear()

    def normals():
        yield from drawn[:1] * 8
        raise AssertionError("all normal images were read first")

    made = detector(model="http://127.0.0.1:9/v1", model_name="a")
    with pytest.raises(VlmError, match="does not answer"):
        made.fit(normals())


@pytest.mark.parametrize("address", ["http://127.0.0.1:port/v1", "http://me:secret@127.0.0.1/v1"])
def test_an_address_that_cannot_be_used_is_told_before_images_are_read(address):
    with pytest.raises(VlmError, match="no address of an endpoint") as caught:
        load_head("vlm", model=address, model_name="a").spec(None)
    assert "secret" not in str(caught.value)


def test_it_reads_a_model_of_transformers(small_vlm, drawn):
    vlm_question.loaded.cache_clear()
    made = vlad.load("vlm", model=small_vlm, windows=0, backbone="vlad-tiny")
    found = made.score(drawn)
    assert found.image_score.min() > 0 and found.image_score.max() < 1
    assert len(np.unique(found.image_score)) == 6


def test_no_such_model():
    vlm_question.loaded.cache_clear()
    with pytest.raises(vlad.VladError, match="nobody/nothing"):
        detector(model="nobody/nothing").score(flat(51))


def test_how_its_images_look(asked, drawn):
    asked(Brightness())
    for image, row in zip(drawn, detector(windows=0).stream(drawn), strict=True):
        assert row.seen.brightness == pytest.approx(brightness(image), abs=1e-4)
        assert np.isfinite(row.seen.sharpness) and row.seen.embedding.shape == (0,)


def test_stored_features_of_other_heads_stay_beside_it(asked, small_backbone, drawn, tmp_path):
    asked(Brightness())
    expected = None
    for _ in range(2):
        both = {"memory": load_head("memory"), "vlm": load_head("vlm", model="any")}
        panel = Panel(small_backbone, both, cache=str(tmp_path)).fit(drawn[:2])
        found = panel.score([panel.prepare(image) for image in drawn[2:]], "nut")
        expected = expected or found
        for name in both:
            torch.testing.assert_close(found[name].image_score, expected[name].image_score)


def test_it_has_no_graph(asked, small_backbone):
    panel = Panel(small_backbone, {"vlm": load_head("vlm", model="any")})
    with pytest.raises(HeadError, match="no graph to export"):
        backbone_graph(panel, "vlm")


def test_its_features_go_with_those_of_other_heads(asked, small_backbone, drawn):
    asked(Brightness())
    both = {"memory": load_head("memory"), "vlm": load_head("vlm", model="any")}
    panel = Panel(small_backbone, both).fit(drawn[:2])
    found = panel.score([panel.prepare(image) for image in drawn[2:]], "nut")
    alone = Panel(small_backbone, {"memory": load_head("memory")}).fit(drawn[:2])
    expected = alone.score([alone.prepare(image) for image in drawn[2:]], "nut")
    torch.testing.assert_close(found["memory"].image_score, expected["memory"].image_score)
    means = [brightness(image) for image in drawn[2:]]
    np.testing.assert_allclose(found["vlm"].image_score, means, atol=1e-4)
