import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlad.prompts.draft import sift


def one(side, phrase, category="bottle cap", cut=lambda state: False):
    """The state made of a phrase, or why there is none."""
    other = {"normal": ["x bottle cap"], "anomalous": ["x bottle cap"]}
    found = sift({**other, side: [phrase]}, category, cut)
    dropped = [x.why for x in found.dropped if x.phrase == phrase]
    return dropped[0] if dropped else getattr(found, side)[0]


@pytest.mark.parametrize(
    ("phrase", "state"),
    [
        ("bottle cap with a cracked rim", "{} with a cracked rim"),
        ("A Bottle-Cap  with a cracked rim.", "{} with a cracked rim"),
        ("the cracked bottle_cap", "cracked {}"),
        ("cracked bottle caps", "cracked {}"),
        ("cracked {}", "cracked {}"),
        ("- cracked bottle cap", "cracked {}"),
        ("12. a cracked bottle cap", "cracked {}"),
        ("A photo of a cracked bottle cap", "cracked {}"),
        ("close-up photograph of the bottle cap with rust", "{} with rust"),
    ],
)
def test_a_phrase_becomes_a_state(phrase, state):
    assert one("anomalous", phrase) == state


def test_categories_of_other_scripts_and_signs():
    assert one("anomalous", "有划痕的螺母", "螺母") == "有划痕的{}"
    assert one("anomalous", "bent C++ (left) part", "C++ (left) part") == "bent {}"


@pytest.mark.parametrize(
    ("side", "phrase", "why"),
    [
        ("normal", " .", "is empty"),
        ("normal", "bottle cap {x}", "has a brace or a control character"),
        ("normal", "bottle cap \x1b[1m", "has a brace or a control character"),
        ("anomalous", "bottle with a crack", "does not name the bottle cap"),
        ("anomalous", "bottle cap on a bottle cap", "names the bottle cap twice"),
        ("anomalous", "bottle cap", "names no defect"),
        ("anomalous", "flawless bottle cap", "calls it sound"),
        ("anomalous", "bottle cap without any damage", "calls it sound"),
        ("normal", "broken bottle cap", "calls it faulty"),
        ("normal", "bottle cap" + " very" * 300, "is too long for the text encoder"),
    ],
)
def test_what_is_of_no_use_is_dropped_with_the_reason(side, phrase, why):
    assert one(side, phrase) == why


def test_what_the_encoder_would_cut_is_dropped():
    def cut(state):
        return len(state) > 10

    assert one("normal", "round bottle cap", cut=cut) == "round {}"
    assert one("normal", "perfectly round bottle cap", cut=cut) == (
        "is too long for the text encoder"
    )


def test_repeats_and_contradictions():
    found = sift(
        {
            "normal": ["red cap", "Red cap.", "round cap", "cap with a seal"],
            "anomalous": ["bent cap", "the round cap", "a bent cap"],
        },
        "cap",
        lambda state: False,
    )
    assert found.normal == ("red {}", "{} with a seal")
    assert found.anomalous == ("bent {}",)
    assert [(x.side, x.phrase, x.why) for x in found.dropped] == [
        ("normal", "Red cap.", "repeats another"),
        ("anomalous", "a bent cap", "repeats another"),
        ("normal", "round cap", "stands on both sides"),
        ("anomalous", "round cap", "stands on both sides"),
    ]


@given(st.lists(st.text(max_size=30)), st.lists(st.text(max_size=30)))
def test_nothing_is_lost_and_every_state_can_be_expanded(normal, anomalous):
    normal = [f"{x} cap" for x in normal] + normal
    found = sift({"normal": normal, "anomalous": anomalous}, "cap", lambda state: False)
    kept = found.normal + found.anomalous
    assert len(kept) + len(found.dropped) == len(normal) + len(anomalous)
    assert all(
        state.count("{}") == 1 and not set(state.replace("{}", "")) & set("{}") for state in kept
    )
    assert not set(found.normal) & set(found.anomalous)
