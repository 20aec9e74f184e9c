"""What a word says of an object: that it is sound, that it is faulty, or which state it is in."""

from __future__ import annotations

import re

NEGATIONS = frozenset({"no", "not", "without", "never", "neither", "nor", "free"})
SOUND = frozenset(
    {
        *("flawless", "perfect", "intact", "undamaged", "unblemished", "pristine", "unbroken"),
        *("faultless", "spotless", "sound", "good", "unscathed"),
    }
)
FAULTY = frozenset(
    {
        *("damaged", "defective", "faulty", "broken", "flawed", "imperfect", "blemished", "bad"),
        *("anomalous", "abnormal"),
    }
)
FAULTS = frozenset(
    {
        *("damage", "defect", "defects", "flaw", "flaws", "fault", "faults", "blemish"),
        *("blemishes", "anomaly", "anomalies"),
    }
)
# states that neither are in these lists nor end in -ed
STATES = frozenset(
    {
        *("bent", "torn", "worn", "burnt", "open", "empty", "full", "loose", "missing", "wet"),
        *("dry", "dirty", "dusty", "rusty", "oily", "greasy", "mouldy", "moldy", "sticky", "shiny"),
        *("dull", "clean", "crooked", "swollen", "frozen", "rotten", "ripe", "unripe", "red"),
        *("black", "white", "blue", "green", "yellow", "brown", "grey", "gray"),
    }
)
REACH = 3  # words that a negation reaches over, as in "without any visible damage"


def polarity(phrase: str) -> int:
    """1 if a phrase calls something sound, -1 if faulty, 0 if it says neither or both.

    Only general words count: whether a scratch is a fault depends on the object.
    """
    words = re.findall(r"\w+", phrase.casefold())
    said = set()
    for place, word in enumerate(words):
        sign = (word in SOUND) - (word in FAULTY or word in FAULTS)
        before = words[max(0, place - REACH) : place]
        negated = not NEGATIONS.isdisjoint(before) or words[place + 1 : place + 2] == ["free"]
        said.add(-sign if negated else sign)
    return sum(said)


def is_state(word: str) -> bool:
    """Whether a word alone says which state something is in, as "scratched" does."""
    low = word.casefold()
    if low in STATES or low in SOUND or low in FAULTY:
        return True
    return low.endswith("ed") and not low.endswith("eed") and len(low) > 3
