"""Who is told how many images come."""

from types import SimpleNamespace

from vlad.images.tiles import WHOLE, Tiling
from vlad.scoring.cost import expect


class Dear:
    def __init__(self):
        self.told = []

    def expect(self, images, tell):
        self.told.append(images)
        tell(f"{images} to ask about")


def panel(tiling=WHOLE):
    return SimpleNamespace(tiling=tiling, heads={"dear": Dear(), "plain": object()})


def test_heads_that_want_to_know_are_told_the_number_of_images():
    said, whole = [], panel()
    expect(whole, 7, said.append)
    expect(whole, 3, said.append, ["plain"])
    assert whole.heads["dear"].told == [7]
    assert said == ["7 to ask about"]


def test_of_tiles_nobody_knows_the_number():
    cut = panel(Tiling(64))
    expect(cut, 7, print)
    assert cut.heads["dear"].told == []
