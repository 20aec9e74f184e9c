import pytest

from vlad.prompts.polarity import is_state, polarity


@pytest.mark.parametrize(
    ("phrase", "said"),
    [
        ("flawless cap", 1),
        ("cap without any visible damage", 1),
        ("cap free of defects", 1),
        ("defect free cap", 1),
        ("damaged cap", -1),
        ("cap that is not intact", -1),
        ("Cap With A Flaw", -1),
        ("scratched cap", 0),
        ("cap with a red liner", 0),
        ("good cap with a defect", 0),
    ],
)
def test_polarity(phrase, said):
    assert polarity(phrase) == said


def test_states_are_told_from_things():
    assert all(map(is_state, ["scratched", "Bent", "broken", "intact", "red"]))
    assert not any(map(is_state, ["scratches", "seed", "bed", "body", "damage"]))
