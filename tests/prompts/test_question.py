import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlad.errors import PromptError
from vlad.prompts import load_bank
from vlad.prompts.question import read_question


@pytest.mark.parametrize(
    ("question", "phrase", "found"),
    [
        ("any scratches near the rim?", "scratches near the rim", "with scratches near the rim"),
        ("Is there dirt?", "dirt", "with dirt"),
        ("isn't there a hole?", "a hole", "with a hole"),
        ("can you see some rust here?", "rust", "with rust"),
        ("which images show cracks at all?", "cracks", "with cracks"),
        ("does any of them have a dent?", "a dent", "with a dent"),
        ("does the object have a dent?", "a dent", "with a dent"),
        ("photos with a hole", "a hole", "with a hole"),
        ("Kratzer am Rand?", "Kratzer am Rand", "with Kratzer am Rand"),
        ("is the cap scratched?", "scratched cap", "with scratched cap"),
        ("rim of the cap scratched", "scratched rim of the cap", "with scratched rim of the cap"),
        ("cap missing", "missing cap", "with missing cap"),
        ("the cap is missing", "missing cap", "with missing cap"),
        ("images where the cap is missing", "missing cap", "with missing cap"),
        ("it has scratches", "scratches", "with scratches"),
        ("doesn't it have a dent?", "a dent", "with a dent"),
        ("could you please show me all the images that have dents?", "dents", "with dents"),
    ],
)
def test_things(question, phrase, found):
    asked = read_question(question)
    assert asked.phrase == phrase
    assert asked.said(asked.found) == [f"object {found}"]
    assert asked.said(asked.otherwise) == [f"object without {phrase}", "object"]


@pytest.mark.parametrize(
    ("question", "state"),
    [
        ("scratched", "scratched"),
        ("is it scratched?", "scratched"),
        ("are any of these badly bent?", "badly bent"),
        ("show me the dirty parts", "dirty"),
        ("is the bottle broken?", "broken"),
        ("which bottles are cracked?", "cracked"),
        ("scratched bottles", "scratched"),
        ("it's broken", "broken"),
        ("isn't it broken?", "broken"),
    ],
)
def test_states(question, state):
    asked = read_question(question, "bottle")
    assert asked.said(asked.found) == [f"{state} bottle"]
    assert asked.said(asked.otherwise) == [f"bottle that is not {state}", "bottle"]


@pytest.mark.parametrize(
    ("question", "without"),
    [
        ("no scratches", "scratches"),
        ("images without scratches", "scratches"),
        ("is it free of scratches?", "scratches"),
        ("are there not any scratches", "scratches"),
        ("images that do not have scratches", "scratches"),
        ("which images don’t show scratches?", "scratches"),
        ("which ones have no scratches?", "scratches"),
        ("does it not have scratches?", "scratches"),
        ("there are no scratches", "scratches"),
        ("scratch-free", "scratch"),
        ("cap not closed", "closed cap"),
        ("the cap isn't closed", "closed cap"),
    ],
)
def test_negations_swap_the_sides(question, without):
    asked = read_question(question)
    assert asked.said(asked.found) == [f"object without {without}", "object"]
    assert asked.said(asked.otherwise) == [f"object with {without}"]


@pytest.mark.parametrize(
    "question", ["which aren't bent?", "is not bent", "parts that are not bent"]
)
def test_a_negated_state(question):
    asked = read_question(question)
    assert asked.said(asked.found) == ["object that is not bent", "object"]
    assert asked.said(asked.otherwise) == ["bent object"]


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("scratches but no dents", "no"),
        ("nothing missing", "nothing"),
        ("is it neither bent nor broken?", "neither"),
        ("which parts lack a label?", "which"),
        ("parts lacking a label", "lacking"),
        ("why is it broken?", "why"),
        ("how many scratches?", "how"),
        ("no", "no"),
    ],
)
def test_what_might_be_read_the_wrong_way_round_is_refused(question, word):
    with pytest.raises(PromptError, match=f"What '{word}' does in .* is not understood"):
        read_question(question)


def test_a_negation_replaces_without_and_the_plain_object():
    asked = read_question("any scratches?", "cap", "smooth surface")
    assert asked.said(asked.found) == ["cap with scratches"]
    assert asked.said(asked.otherwise) == ["cap with smooth surface"]
    asked = read_question("any scratches?", "cap", "not scratched")
    assert asked.said(asked.otherwise) == ["cap that is not scratched"]


@pytest.mark.parametrize("words", ["any scratches?", "is it free of dust?", "scratched"])
def test_the_bank_of_a_question_is_the_file_it_writes(words, tmp_path):
    asked = read_question(words, 'left "inner" cap')
    path = tmp_path / "question.toml"
    path.write_bytes(asked.bank.content)
    bank = load_bank(path)
    assert bank == asked.bank
    said = bank.expand("anything")
    assert said == asked.bank.expand('left "inner" cap')
    assert f"a dark photo of a {asked.said(asked.found)[0]}." in said.anomalous
    assert len(said.anomalous) == 22 * len(asked.found)


@pytest.mark.parametrize(
    ("question", "fault"),
    [
        ("", "no letter"),
        ("?!", "no letter"),
        ("is it?", "names nothing"),
        ("are there any of them?", "names nothing"),
        ("a {} b", "a brace"),
        ("a\x00b", "a control character"),
        ("x" * 201, "longer than 200"),
    ],
)
def test_questions_that_ask_nothing(question, fault):
    with pytest.raises(PromptError, match=fault):
        read_question(question)


def test_a_negation_that_says_the_same_is_refused():
    with pytest.raises(PromptError, match="says the same"):
        read_question("scratched", None, "is it scratched?")


def test_only_whole_words_are_replaced_by_another():
    other = read_question("out").about("piano")
    assert other.said(other.found + other.otherwise) == [
        "object with piano", "object without piano", "object",
    ]  # fmt: skip


def test_the_same_question_about_another_word():
    other = read_question("any scratches?").about("piano")
    assert other.said(other.found + other.otherwise) == [
        "object with piano", "object without piano", "object",
    ]  # fmt: skip


@given(st.text(max_size=60), st.text(alphabet="isanyre oftheom withuncd", max_size=60))
def test_any_text_is_read_or_refused(text, words):
    for question in (text, words, f"{words} {text}"):
        try:
            asked = read_question(question)
        except PromptError:
            continue
        assert asked.phrase.strip() == asked.phrase != ""
        assert set(asked.found).isdisjoint(asked.otherwise)
        assert all(state.count("{}") == 1 for state in asked.found + asked.otherwise)
