import json

import pytest
from chat_server import MODEL, ChatServer
from PIL import Image

from vlad.errors import ImageError, VlmError
from vlad.prompts.question import read_question
from vlad.vlm import load_vlm
from vlad.vlm.asking import answered, negated
from vlad.vlm.draft import draft

STATES = {"normal": ["good cap"], "anomalous": ["bent cap"]}
KINDS = ["qwen2_vl", "idefics3"]


def at(server):
    return load_vlm(server.url, name=MODEL, batch=2, cache=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_transformers_drafts_from_words_alone(vlm_folder, kind):
    model = load_vlm(str(vlm_folder(kind, json.dumps(STATES))), device="cpu", cache=False)
    found = draft(model, "cap", lambda sentence: False)
    assert (found.normal, found.anomalous) == (("good {}",), ("bent {}",))


def test_a_model_with_random_weights_drafts_nothing(vlm_folder):
    model = load_vlm(str(vlm_folder("qwen2_vl")), device="cpu", cache=False)
    with pytest.raises(VlmError, match="drafted no states of cap"):
        draft(model, "cap", lambda sentence: False)


def test_the_opposite_in_words():
    asked = read_question("any scratches?", "cap")
    with ChatServer('{"negation": "smooth surface"}') as server:
        found, why = negated(at(server), asked)
    assert why == ""
    assert found.said(found.otherwise) == ["cap with smooth surface"]
    assert "any scratches?" in server.asked[0].text and "cap" in server.asked[0].text


def test_an_opposite_that_says_the_same_is_not_used():
    asked = read_question("any scratches?")
    with ChatServer('{"negation": "with scratches"}') as server:
        found, why = negated(at(server), asked)
    assert found == asked
    assert "says the same" in why


def test_answers_come_in_order_with_images_made_small():
    def answer(asked):
        width = asked.images[0].width
        return json.dumps({"answer": "yes" if width > 50 else "no", "sentence": f"{width} wide"})

    def open_image(side):
        if side == 7:
            raise ImageError("it is gone; leave it out.")
        return Image.new("RGB", (side, 20))

    said = []
    with ChatServer(answer) as server:
        asked = read_question("wide?")
        found = list(answered(at(server), asked, [40, 3000, 7, 60, 30], open_image, said.append))
    assert [side for side, _ in found] == [40, 3000, 7, 60, 30]
    assert [one.answer for _, one in found] == ["no", "yes", "", "yes", "no"]
    assert found[1][1].sentence == "1024 wide"
    assert found[2][1].error == "it is gone; leave it out."
    assert len(said) == 1 and said[0].startswith("3 requests left")
