"""Reasons in plain words."""

import pytest

from vlad.images.normals import ITSELF
from vlad.prompts import Prompts
from vlad.reasons.references import References
from vlad.reasons.words import percent, sentence
from vlad.types import (
    FeatureShift,
    KnownKind,
    NearestPatch,
    NearestSentence,
    NearestState,
    Residual,
)

KNOWN = References([("good/0.png", "a"), ("good/1.png", "b")], None, ITSELF, (10, 10))
PROMPTS = Prompts(("a whole cap", "a perfect cap"), ("a broken cap",))


def nearest(**changes):
    values = {"image": 1, "view": 0, "cell": (1, 1), "distance": 0.4, "usual": 0.125}
    return NearestPatch(**{**values, "patch": (2, 3), **changes})


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (
            nearest(),
            "0.400 from the nearest reference patch (good/1.png, the same place); for half of the "
            "normal patches it is at most 0.125",
        ),
        (
            nearest(cell=(9, 9), view=2, usual=None),
            "0.400 from the nearest reference patch (good/1.png, view 2, bottom right, 7 patches "
            "away)",
        ),
        (
            nearest(image=7, usual=None),
            "0.400 from the nearest reference patch (reference image 7, the same place)",
        ),
        (
            nearest(image=None, view=None, cell=None, usual=None),
            "0.400 from the nearest reference patch",
        ),
        (
            nearest(image=None, view=None),
            "0.400 from the most alike patches of this image (nearby); for half of the patches of "
            "this image it is at most 0.125",
        ),
        (
            NearestSentence("normal", 1, 0.27, 0.125),
            'normal: "a perfect cap", cosine 0.270, 12 % of that side',
        ),
        (
            NearestState("anomalous", "broken cap", 0.26, 0.25, 0, 0.27),
            'anomalous: "broken cap", 26 % of that side (an equal share is 25 %); best as "a '
            'broken cap", cosine 0.270',
        ),
        (FeatureShift("blue", 9.04), "blue 9.0 standard deviations up"),
        (
            FeatureShift("channel 3 of block 1", 2.5, part=True),
            "moves the image's channel 3 of block 1 2.5 standard deviations up",
        ),
        (FeatureShift("blue", -2.5), "blue 2.5 standard deviations down"),
        (
            KnownKind("crack", 0.1, 0.3),
            "nearer to the known defect crack (0.100) than to normal images (0.300)",
        ),
        (
            KnownKind("crack", 0.4, 0.3),
            "no nearer to the known defect crack (0.400) than to normal images (0.300)",
        ),
        (
            Residual(0.31, 64, 12.34),
            "31 % of its worst patch is outside the 64 directions of normal patches, 12.3 times as "
            "much as of the mean normal patch",
        ),
    ],
)
def test_each_reason_in_words(reason, words):
    assert sentence(reason, KNOWN, PROMPTS) == words


def test_a_sentence_of_an_unknown_bank_has_its_number():
    said = sentence(NearestSentence("anomalous", 3, 0.2, 0.5), KNOWN, None)
    assert said == "anomalous sentence 3, cosine 0.200, 50 % of that side"


def test_names_that_no_terminal_prints_are_escaped():
    odd = References([("bad\x1b[2J.png", "a")], None, ITSELF, (10, 10))
    assert "\x1b" not in sentence(nearest(image=0), odd, None)


@pytest.mark.parametrize(
    ("share", "words"),
    [(1, "100 %"), (0.126, "13 %"), (0.0126, "1.3 %"), (0.0004, "under 0.1 %"), (0.0, "0 %")],
)
def test_shares_as_percentages(share, words):
    assert percent(share) == words
