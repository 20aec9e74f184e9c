"""Sentences for images: a template, a state and a noun.

The state words carry the meaning whatever noun stands beside them; sentences without a state word
mean a normal thing.
"""

TEMPLATES = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a photo of my {}.",
    "a photo of one {}.",
    "a cropped photo of the {}.",
    "a cropped photo of a {}.",
    "a close-up photo of a {}.",
    "a close-up photo of the {}.",
    "a bright photo of a {}.",
    "a bright photo of the {}.",
    "a dark photo of the {}.",
    "a dark photo of a {}.",
    "a jpeg corrupted photo of the {}.",
    "a jpeg corrupted photo of a {}.",
    "a blurry photo of the {}.",
    "a blurry photo of a {}.",
    "a low resolution photo of the {}.",
    "a good photo of a {}.",
    "a bad photo of the {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
    "a photo of the small {}.",
    "a photo of a large {}.",
    "a photo of the large {}.",
    "a photo of the {} for visual inspection.",
    "a photo of a {} for visual inspection.",
    "a photo of the {} for anomaly detection.",
    "a photo of a {} for anomaly detection.",
    "there is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
    "an image of a {}.",
    "a picture of the {}.",
    "{}.",
    "{}",
)
NORMAL = (
    "{}",
    "{}",
    "{}",
    "flawless {}",
    "perfect {}",
    "unblemished {}",
    "normal {}",
    "good {}",
    "intact {}",
    "undamaged {}",
    "clean {}",
    "new {}",
    "healthy {}",
    "faultless {}",
    "{} without flaw",
    "{} without flaws",
    "{} without defect",
    "{} without defects",
    "{} without damage",
    "{} without any defect",
    "{} in good condition",
    "{} with no damage",
)
ABNORMAL = (
    "damaged {}",
    "damaged {}",
    "broken {}",
    "defective {}",
    "abnormal {}",
    "anomalous {}",
    "imperfect {}",
    "faulty {}",
    "flawed {}",
    "blemished {}",
    "bad {}",
    "unhealthy {}",
    "{} with flaw",
    "{} with flaws",
    "{} with defect",
    "{} with defects",
    "{} with a defect",
    "{} with damage",
    "{} with an anomaly",
    "{} with something wrong",
    "{} in bad condition",
)
DETAILS = (
    "scratched {}",
    "cracked {}",
    "punctured {}",
    "dented {}",
    "stained {}",
    "discolored {}",
    "contaminated {}",
    "cut {}",
    "broken {}",
    "worn {}",
    "bent {}",
    "corroded {}",
    "torn {}",
    "chipped {}",
    "dirty {}",
    "rusty {}",
    "{} with a scratch",
    "{} with a crack",
    "{} with a hole",
    "{} with a stain",
    "{} with a dent",
    "{} with a cut",
    "{} with contamination",
    "{} with a missing part",
    "{} with a chip",
)
#: Nouns beside those of the drawn things, so that the state is learnt for any noun.
NOUNS = (  # noqa: SIM905
    "object thing item product part component sample surface texture material piece device "
    "tool apple orange banana pear tomato cake pasta bread chair table lamp door window "
    "wall road car wheel tyre engine chain spring pipe valve pump motor fan blade knife "
    "spoon fork plate cup glass jar can vial syringe mask glove shoe boot belt bag purse "
    "watch ring necklace phone screen keyboard camera lens battery wafer diode resistor "
    "relay cable wire rope net zipper toothbrush comb brush pen pencil book page card stamp "
    "coin toy ball doll brick roof bridge rail ship plane leaf flower tree grass fruit "
    "vegetable rice corn coffee sugar pill bolt hinge hook nail pin clip key lock handle "
    "transistor macaroni cashew candle gum metal nut metal plate tubes sheet panel board "
    "frame cover shell case casting weld seam "
).split()


def sentence(rng, state, noun):
    """A random sentence about ``noun`` in a state: a phrase with one ``{}``."""
    return TEMPLATES[rng.integers(len(TEMPLATES))].format(state.format(noun))


def phrase(rng, damaged):
    """A random state phrase of one side."""
    if not damaged:
        return NORMAL[rng.integers(len(NORMAL))]
    states = ABNORMAL if rng.random() < 0.75 else DETAILS
    return states[rng.integers(len(states))]


def sides(rng, count, nouns):
    """``count`` normal and ``count`` anomalous sentences about random nouns."""

    def draw(damaged):
        noun = nouns[rng.integers(len(nouns))]
        return sentence(rng, phrase(rng, damaged), noun)

    return [draw(False) for _ in range(count)], [draw(True) for _ in range(count)]
