"""Multiple-choice questions to a model: what it is shown, and what counts as its answer."""

from string import ascii_uppercase

import pytest
from PIL import Image

from vlad.datasets.questions import Question
from vlad.errors import ImageError
from vlad.evaluation.asking import ask_questions, order_of, read_answer
from vlad.vlm import VLM, Choice
from vlad.vlm.prompts import load_prompt


class Knows(VLM):
    """Chooses the option with the word "right", or writes it; notes what it was asked."""

    name, identity, batch = "knows", "knows", 4

    def __init__(self, tells=True):
        self.asked, self.tells = [], tells

    def write(self, requests, schema, max_tokens):
        raise AssertionError

    def weigh(self, requests, choices):
        self.asked += requests
        found = []
        for request in requests:
            lines = request.text.splitlines()
            letter = next(line[0] for line in lines if line.endswith(". right"))
            told = tuple(float(letter == choice) for choice in choices)
            found.append(Choice(told if self.tells else None, f"Answer: {letter}."))
        return found


def question(number=0, options=("wrong", "right", "worse"), answer=1, **values):
    return Question(f"{number}.png", "", "", f"What is {number}?", options, answer, **values)


def opened(path):
    if path.name.startswith("bad"):
        raise ImageError(f"{path}: cannot be read; remove it.")
    return Image.new("RGB", (20 + len(path.name), 20))


def ask(model, questions, tmp_path, **options):
    parts = ask_questions(model, questions, tmp_path, load_prompt("choice"), opened, **options)
    return [one for part in parts for one in part]


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("seed", [None, 0, 7])
def test_right_answers_are_found_whatever_their_letter(tells, seed, tmp_path):
    mixed = [question(i, answer=1) for i in range(40)]
    mixed += [question(i, ("right", "wrong"), 0) for i in range(40, 50)]
    found = ask(Knows(tells), mixed, tmp_path, seed=seed)
    assert [one.question for one in found] == mixed
    assert all(one.right for one in found)
    letters = {one.letter(one.chosen) for one in found}
    assert letters == ({"A", "B"} if seed is None else {"A", "B", "C"})


def test_the_order_is_that_of_the_seed_alone():
    orders = [order_of(question(i), 3) for i in range(60)]
    assert orders == [order_of(question(i), 3) for i in range(60)]
    assert orders != [order_of(question(i), 4) for i in range(60)]
    assert {order.index(1) for order in orders} == {0, 1, 2}
    assert order_of(question(), None) == (0, 1, 2)


def test_normal_images_come_first(tmp_path):
    model = Knows()
    shown = question(5, references=("long-name-of-a.png", "b.png"))
    ask(model, [shown], tmp_path, shots=1)
    (request,) = model.asked
    assert [image.width for image in request.images] == [38, 25]
    assert "1 normal image" in request.text
    ask(model, [shown], tmp_path)
    assert len(model.asked[1].images) == 1 and "normal image" not in model.asked[1].text


def test_large_images_are_shown_smaller(tmp_path):
    model = Knows()

    def large(path):
        return Image.new("RGB", (3000, 1500))

    list(ask_questions(model, [question()], tmp_path, load_prompt("choice"), large))
    assert model.asked[0].images[0].size == (1024, 512)


def test_options_are_shown_in_their_order(tmp_path):
    model = Knows()
    (found,) = ask(model, [question(5)], tmp_path, seed=1)
    lines = [line for line in model.asked[0].text.splitlines() if line[1:3] == ". "]
    expected = [
        f"{x}. {found.question.options[i]}" for x, i in zip("ABC", found.order, strict=True)
    ]
    assert lines == expected


def test_an_image_that_cannot_be_read_is_not_asked_about(tmp_path):
    model = Knows()
    asked = [question("bad"), question(1), question(2, references=("bad.png",))]
    found = ask(model, asked, tmp_path, shots=1)
    assert [bool(one.unread) for one in found] == [True, False, True]
    assert "cannot be read" in found[2].unread
    assert len(model.asked) == 1


class Silent(Knows):
    def weigh(self, requests, choices):
        said = [Choice(None, "", "no answer: the endpoint took longer than 2 s")]
        return said + [Choice(None, "I cannot tell.")] * (len(requests) - 1)


def test_no_answer(tmp_path):
    first, second = ask(Silent(), [question(1), question(2)], tmp_path)
    assert first.chosen is None and "longer than 2 s" in first.error
    assert second.chosen is None and "names no option" in second.error
    assert second.said == "I cannot tell." and not second.right


@pytest.mark.parametrize(
    ("text", "place"),
    [
        *((text, 1) for text in ("B", "b", "B.", "(B)", "B) cut", "B: it is cut", "Answer: B")),
        *((text, 1) for text in ("The answer is B.", "option b", "cut", "Cut.", " B\nbecause")),
        *((text, 1) for text in ("**B**", "**Answer:** B", "`B.`", "The correct answer is B.")),
        *((text, 1) for text in ("The best option is **B**", "The answer is option B", '"cut"')),
        *((text, 0) for text in ("A", "a scratch", "A scratch.", "A. A scratch")),
        *((text, None) for text in ("", "A dent", "D", "Both", "I think B or C", "Because")),
    ],
)
def test_read_answer(text, place):
    assert read_answer(text, ["A scratch", "cut", "neither"]) == place


@pytest.mark.parametrize(
    ("text", "place"),
    [("A", 0), ("b.", 1), ("(C)", 2), ("A and B", 2), ("\u212a", None), ("c)", 2), ("AB", None)],
)
def test_a_letter_is_that_of_the_option_even_if_options_are_letters(text, place):
    assert read_answer(text, ["B", "a", "A and B"]) == place


def test_there_are_as_many_letters_as_options(tmp_path):
    many = (*(f"wrong {i}" for i in range(25)), "right")
    (found,) = ask(Knows(), [question(1, many, 25)], tmp_path)
    assert found.right and found.letter(found.chosen) in ascii_uppercase
