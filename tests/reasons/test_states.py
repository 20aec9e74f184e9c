"""States of a prompt bank, which stand for their sentences."""

import pytest
import torch

from vlad.heads.sentences import sentence_reasons
from vlad.prompts import Prompts, load_bank
from vlad.reasons.states import by_state
from vlad.types import FeatureShift, NearestSentence, NearestState, TextFeatures


@pytest.mark.parametrize("bank", ["winclip", "april_gan", "filo"])
def test_each_sentence_of_a_bank_has_its_state(bank):
    prompts = load_bank(bank).expand("bottle")
    for side in ("normal", "anomalous"):
        sentences, states = getattr(prompts, side), prompts.states[side]
        assert len(states) == len(sentences)
        assert all(state in said for state, said in zip(states, sentences, strict=True))


def prompts(**states):
    each = {"normal": ("whole",) * 2, "anomalous": ("bent", "torn") * 2, **states}
    return Prompts(
        ("a whole", "the whole"), ("a bent", "a torn", "the bent", "the torn"), states=each
    )


def said(*weights, side="anomalous"):
    return [NearestSentence(side, i, weight / 2, weight) for i, weight in enumerate(weights)]


def test_the_share_of_a_state_is_that_of_its_sentences():
    first, second = by_state(said(0.1, 0.2, 0.3, 0.4), prompts())
    assert first == NearestState("anomalous", "torn", pytest.approx(0.6), 0.5, 3, 0.2)
    assert second == NearestState("anomalous", "bent", pytest.approx(0.4), 0.5, 2, 0.15)


def test_the_shares_of_the_states_of_a_side_sum_to_one():
    random = torch.Generator().manual_seed(0)
    text = TextFeatures(*(1 + 0.5 * torch.randn(n, 8, generator=random) for n in (2, 4)))
    (reasons,) = sentence_reasons(torch.ones(1, 8), text)
    for side, count in (("anomalous", 2), ("normal", 1)):
        own = [x for x in by_state(reasons, prompts()) if x.side == side]
        assert len(own) == count and sum(x.weight for x in own) == pytest.approx(1)
        assert sum(x.equal for x in own) == pytest.approx(1)


def test_at_most_three_states_a_side_and_none_that_pulls_away():
    names = ("a", "b", "c", "d")
    found = by_state(said(0.1, 0.2, 0.3, 0.4), prompts(anomalous=names))
    assert [x.state for x in found] == ["d", "c", "b"]
    found = by_state(said(0.6, -0.1, -0.2, -0.1), prompts(anomalous=names))
    assert [x.state for x in found] == ["a"]
    assert by_state(said(-0.4, -0.6, side="normal"), prompts()) == ()


@pytest.mark.parametrize("bank", [None, Prompts(("a", "b"), ("c", "d", "e", "f"))])
def test_sentences_of_no_bank_speak_for_themselves(bank):
    own = said(0.4, 0.3, 0.2, 0.1)
    shift = FeatureShift("blue", 2.0)
    assert by_state([*own, shift], bank) == (*own[:3], shift)
