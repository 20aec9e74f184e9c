"""Flashback on planted directions: which captions it finds, and what they make of an image."""

import math

import pytest
import torch

from vlad.errors import HeadError
from vlad.heads import load_head
from vlad.heads.flashback import Flashback
from vlad.prompts import load_bank
from vlad.reasons import explain
from vlad.scoring.panel import Panel
from vlad.types import Features, TextFeatures

REGIONS = torch.ones(2, 4, dtype=torch.bool)


def at(*degrees: float) -> torch.Tensor:
    """(N, 2) vectors in these directions, none of unit length."""
    angles = torch.tensor(degrees).deg2rad()
    return 3 * torch.stack([angles.cos(), angles.sin()], dim=1)


def seen(*degrees: float) -> Features:
    return Features(image=at(*degrees) * 2, patches={}, grid=(2, 2), size=(32, 48))


# normal captions about 0 degrees, anomalous ones about 90
MEMORY = TextFeatures(at(-2.0, 0.0, 3.0, 30.0), at(60.0, 88.0, 93.0))


def test_the_score_is_the_share_of_anomalous_captions_among_the_nearest():
    head = Flashback(top=3, scale=1.0)
    scores = head.score(seen(1.0, 91.0, 46.0, 20.0), MEMORY)
    # at 46 degrees: those at 60 and 30, then one at 88 (42 away) before 3 (43 away)
    torch.testing.assert_close(scores.image_score, torch.tensor([0, 1, 2 / 3, 0]))
    assert scores.anomaly_map.shape == (4, 32, 48) and not scores.anomaly_map.any()


def test_anomalous_captions_are_scaled_down():
    near = seen(46.0)  # 14 degrees from an anomalous caption, 16 from a normal one
    assert Flashback(top=1, scale=1.0).score(near, MEMORY).image_score == 1
    assert Flashback(top=1).score(near, MEMORY).image_score == 0
    assert load_head("flashback").scale == 0.95 and load_head("flashback").top == 10


def test_the_softmax_compares_the_nearer_half_of_each_side():
    found = Flashback(top=1, scale=0.9, score_by="softmax").score(seen(46.0), MEMORY).image_score
    normal = (math.cos(math.radians(16)) + math.cos(math.radians(43))) / 2
    anomalous = 0.9 * math.cos(math.radians(14))
    expected = 1 / (1 + math.exp((normal - anomalous) / 0.03))
    assert found.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("score_by", ["share", "softmax"])
def test_the_nearest_captions_are_the_reasons(score_by):
    head = Flashback(top=3, score_by=score_by)
    first, second = head.reasons(seen(46.0), MEMORY, REGIONS)
    assert first == second
    assert [(one.side, one.index) for one in first] == [
        ("normal", 3),
        ("anomalous", 0),
        ("normal", 2),
    ]
    cosines = [math.cos(math.radians(x)) for x in (16, 14, 43)]
    assert [one.similarity for one in first] == pytest.approx(cosines, abs=1e-5)  # not scaled
    assert [one.weight for one in first] == [0.5, 1, 0.5]


def test_a_memory_that_is_retrieved_whole_tells_nothing():
    with pytest.raises(
        HeadError, match=r"7 captions of a memory of 7, .* set flashback\.top lower"
    ):
        Flashback(top=7).score(seen(0.0), MEMORY)
    with pytest.raises(HeadError, match="give it a category"):
        Flashback().score(seen(0.0))


def test_an_explanation_reads_the_captions_out(small_backbone, drawn):
    panel = Panel(small_backbone, {"flashback": load_head("flashback", top=4)})
    found = explain(panel, drawn[0], category="shop")
    (region,) = found.regions
    assert region.place == "all of the image" and len(region.texts) == 4
    captions = load_bank("scenes").expand("shop")
    for one, text in zip(region.reasons, region.texts, strict=True):
        assert f'{one.side}: "{getattr(captions, one.side)[one.index]}"' in text
    share = sum(one.side == "anomalous" for one in region.reasons) / 4
    assert found.image_score == pytest.approx(share)


@pytest.mark.parametrize(
    ("bank", "category", "start"),
    [
        ("scenes", "square", "Scene: Action Category: "),
        ("scenes", "railway_station", "Scene: Action Category: "),
        ("conveyor", "bottle", "Scene: Action Category: "),
    ],
)
def test_captions_that_ship_repel_each_other_by_their_first_word(bank, category, start):
    captions = load_bank(bank).expand(category)
    word = category.replace("_", " ")
    assert all(x.startswith(f"Normal {start}") and word in x for x in captions.normal)
    assert all(x.startswith(f"Anomalous {start}") and word in x for x in captions.anomalous)
