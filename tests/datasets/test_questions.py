"""Multiple-choice questions from MMAD's JSON and from CSV."""

import json

import pytest

from vlad.datasets.questions import Question, read_questions
from vlad.errors import InputError

MMAD = {
    "DS-MVTec/bottle/image/broken/000.png": {
        "image_path": "DS-MVTec/bottle/image/broken/000.png",
        "conversation": [
            {
                "Question": "Is there any defect in the object?",
                "Answer": "A",
                "Options": {"A": "Yes.", "B": "No."},
                "type": "Anomaly Detection",
                "annotation": True,
            },
            {
                "Question": "What is its mouth made of?",
                "Answer": "C",
                "Options": {"A": "Wood", "B": "Paper", "C": "Glass"},
                "type": "Object Details",
                "annotation": True,
            },
        ],
        "mask_path": "rbg_mask/broken/000.png",
        "random_templates": [
            "MVTec-AD/bottle/train/good/1.png",
            "MVTec-AD/bottle/train/good/2.png",
        ],
        "similar_templates": ["MVTec-AD/bottle/train/good/9.png"],
    }
}


@pytest.fixture
def written(tmp_path):
    def write(content, name="questions.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def changed(**values):
    """MMAD with one question, with some of its values changed."""
    ((image, entry),) = MMAD.items()
    return {image: {**entry, "conversation": [{**entry["conversation"][0], **values}]}}


def test_mmad(written):
    first, second = read_questions(written(MMAD))
    assert first == Question(
        image="DS-MVTec/bottle/image/broken/000.png",
        data="DS-MVTec",
        kind="Anomaly Detection",
        text="Is there any defect in the object?",
        options=("Yes.", "No."),
        answer=0,
        references=("MVTec-AD/bottle/train/good/1.png", "MVTec-AD/bottle/train/good/2.png"),
    )
    assert (second.kind, second.options[second.answer]) == ("Object Analysis", "Glass")
    similar = read_questions(written(MMAD), "similar")
    assert similar[0].references == ("MVTec-AD/bottle/train/good/9.png",)


def test_a_wrong_option_may_be_there_twice(written):
    options = {"A": "Yes.", "B": "No.", "C": "no."}
    (question,) = read_questions(written(changed(Options=options)))
    assert question.options == ("Yes.", "No.", "no.") and question.answer == 0


def test_a_column_apart_from_the_others_is_no_option(written):
    text = "image,question,A,B,n,answer\na.png,Is it torn?,yes,no,17,A\n"
    (question,) = read_questions(written(text, "questions.csv"))
    assert question.options == ("yes", "no")


def test_csv(written):
    text = (
        "image,question,A,B,C,answer,kind,data,reference\n"
        'a.png,"Is it torn, or cut?",torn,cut,neither,b,Defect,mine,good/1.png\n'
        "b.png,Is it torn?,yes,no,,A,,,\n"
    )
    first, second = read_questions(written(text, "questions.csv"))
    assert first == Question(
        "a.png", "mine", "Defect", "Is it torn, or cut?", ("torn", "cut", "neither"), 1,
        ("good/1.png",),
    )  # fmt: skip
    assert second == Question("b.png", "", "", "Is it torn?", ("yes", "no"), 0)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[1]", "not a table of images"),
        ("{", "not JSON"),
        ("{}", "has no questions"),
        ({"a.png": {"conversations": []}}, "no list `conversation`"),
        (changed(Question=" "), "question 1 of .* has no text"),
        (changed(Options={"A": "Yes."}), "two options or more"),
        (changed(Options=["Yes.", "No."]), "two options or more"),
        (changed(Options={"A": "Yes.", "B": 5}), "two options or more"),
        (changed(Options={"A": "Yes.", "B": "yes."}), "right option twice"),
        (changed(Answer="E"), "answer 'E', which is not an option; write one of A, B"),
        (changed(Answer=["A"]), "not an option"),
        ({"/etc/a.png": MMAD[next(iter(MMAD))]}, "not an image in the data folder"),
        ({"../a.png": MMAD[next(iter(MMAD))]}, "not an image in the data folder"),
        (
            {"a.png": {**MMAD[next(iter(MMAD))], "random_templates": ["../secret.png"]}},
            "not an image in the data folder",
        ),
        ({"a.png": {"conversation": [], "random_templates": "b.png"}}, "not a list of paths"),
    ],
)
def test_bad_json(written, content, why):
    with pytest.raises(InputError, match=why):
        read_questions(written(content))


def test_bad_csv(written, tmp_path):
    with pytest.raises(InputError, match=r"line 3 of .* not an option"):
        text = "image,question,A,B,answer\na.png,Torn?,yes,no,A\nb.png,Torn?,yes,no,C\n"
        read_questions(written(text, "questions.csv"))
    with pytest.raises(InputError, match="check the path"):
        read_questions(tmp_path / "none.json")
