"""Sentences that speak for a side: their shares, and that a score changes as they say."""

import pytest
import torch
import torch.nn.functional as F

from vlad.heads import load_head
from vlad.heads.sentences import pulls, sentence_reasons
from vlad.heads.winclip import anomalous_probability
from vlad.maths.logits import side_vectors
from vlad.maths.representative import dense_sides, dense_text
from vlad.types import Features, TextFeatures


@pytest.fixture
def random():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def text(random):
    """Sentences of different lengths in one half of the space, as CLIP's are."""
    rows = 1 + 0.5 * torch.randn(20, 8, generator=random)
    rows = rows * torch.linspace(1, 3, 20)[:, None]
    return TextFeatures(rows[:8], rows[8:])


@pytest.mark.parametrize("unit", [True, False])
def test_pulls_are_the_terms_of_the_cosine_with_the_side(text, random, unit):
    vector = 1 + torch.rand(8, generator=random)
    rows = F.normalize(text.anomalous, dim=-1) if unit else text.anomalous
    cosine = F.cosine_similarity(vector, rows.mean(dim=0), dim=0)
    found = pulls(vector, rows)
    assert found.sum() == pytest.approx(1)
    for share, row in zip(found, rows, strict=True):
        term = F.cosine_similarity(vector, row, dim=0) * row.norm() / rows.sum(dim=0).norm()
        assert share * cosine == pytest.approx(term.item(), abs=1e-6)


def test_a_sentence_that_pulls_away_has_a_negative_share():
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [2.0, 0.0]])
    assert pulls(torch.tensor([1.0, 0.0]), rows).tolist() == pytest.approx([0.25, -0.25, 0.5])


def test_sentences_are_ranked_by_their_pull(text, random):
    vectors = 1 + torch.rand(2, 8, generator=random)
    for vector, found in zip(vectors, sentence_reasons(vectors, text, unit=False), strict=True):
        sides = [reason.side for reason in found]
        assert sides == ["anomalous"] * 12 + ["normal"] * 8
        for side in ("anomalous", "normal"):
            rows, own = getattr(text, side), [r for r in found if r.side == side]
            terms = rows @ vector
            expected = terms.argsort(descending=True).tolist()
            assert [reason.index for reason in own] == expected
            for reason in own:
                assert reason.weight == pytest.approx((terms[reason.index] / terms.sum()).item())
                cosine = F.cosine_similarity(vector, rows[reason.index], dim=0)
                assert reason.similarity == pytest.approx(cosine.item(), abs=1e-6)


def winclip_features(random, count=9):
    """Windows of one patch alone, on a grid of 3×3."""
    windows = {1: 1 + torch.rand(1, count, 8, generator=random)}
    return Features(torch.ones(1, 8), {}, (3, 3), (24, 24), windows=windows)


def test_without_a_sentence_the_probability_changes_as_its_share_says(text, random):
    """WinCLIP's sides are sums of sentences, so a window's pull on a side falls by the share."""
    head = load_head("winclip", windows=(1,))
    features = winclip_features(random)
    region = torch.zeros(1, 9, dtype=torch.bool)
    region[0, 4] = True
    first = head.reasons(features, text, region)[0][0]
    left = torch.arange(len(text.anomalous)) != first.index
    window, total = features.windows[1][0, 4], text.anomalous.sum(dim=0)
    unit = F.normalize(window, dim=0)
    kept = text.anomalous[left].sum(dim=0)
    assert unit @ kept == pytest.approx((1 - first.weight) * (unit @ total).item(), rel=1e-5)
    # and by way of the cosines the probability, which the head gives without the sentence
    normal = F.cosine_similarity(window, text.normal.mean(dim=0), dim=0)
    anomalous = (1 - first.weight) * (unit @ total) / kept.norm()
    said = torch.stack([normal, anomalous]).div(head.temperature).softmax(dim=0)[1]
    sides = torch.stack([text.normal.mean(dim=0), text.anomalous[left].mean(dim=0)])
    found = anomalous_probability(window, sides, head.temperature)
    assert found.item() == pytest.approx(said.item(), rel=1e-4)


def test_the_worst_window_that_touches_the_region_speaks(text, random):
    head = load_head("winclip", windows=(1,))
    features = winclip_features(random)
    sides = torch.stack([text.normal.mean(dim=0), text.anomalous.mean(dim=0)])
    p = anomalous_probability(features.windows[1][0], sides, head.temperature)
    region = torch.zeros(1, 9, dtype=torch.bool)
    region[0, [0, 3, 8]] = True
    worst = max((0, 3, 8), key=lambda i: p[i])
    (expected,) = sentence_reasons(features.windows[1][0, [worst]], text, unit=False)
    assert head.reasons(features, text, region)[0] == expected


def test_sentences_outside_the_largest_cluster_are_not_named():
    """CLIP-AD leaves them out of its sides."""
    axis = torch.eye(4)
    near = axis[0] + 0.01 * torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    text = TextFeatures(torch.cat([near, axis[1:3]]), torch.cat([axis[1:3], near]))
    kept = dense_text(text, 0.5, 15)
    (found,) = sentence_reasons(axis[1:2] + axis[0:1], kept)
    assert {r.index for r in found if r.side == "normal"} <= set(range(20))
    assert {r.index for r in found if r.side == "anomalous"} <= set(range(2, 22))
    torch.testing.assert_close(side_vectors(kept), dense_sides(text, 0.5, 15), atol=1e-3, rtol=0)
