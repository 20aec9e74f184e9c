"""KolektorSDD and KolektorSDD2: labels told from the masks."""

import pytest

from vlad.datasets import load_dataset
from vlad.datasets.kolektor import KolektorSDD, KolektorSDD2
from vlad.errors import ImageError, InputError
from vlad.types import Sample


@pytest.fixture
def sdd(tmp_path, fill, draw):
    """Five items of two parts; Part1 of the odd ones has a defect."""
    for item in range(1, 6):
        for part in range(2):
            fill(tmp_path, [f"kos{item:02}/Part{part}.jpg"])
            draw(tmp_path / f"kos{item:02}/Part{part}_label.bmp", part * (item % 2))
    return fill(tmp_path, ["readme.txt", "other/a.jpg"])


@pytest.fixture
def sdd2(tmp_path, fill, draw):
    bad = {"train/10001", "test/20001"}
    for name in ("train/10000", "train/10001", "train/10002", "test/20000", "test/20001"):
        fill(tmp_path, [f"{name}.png"])
        draw(tmp_path / f"{name}_GT.png", 255 * (name in bad))
    return fill(tmp_path, ["train/10000_GT(1).png"])


def test_sdd(sdd):
    data = load_dataset("kolektorsdd", sdd)
    assert list(data.categories) == ["kolektorsdd"]
    train, test = data.train("kolektorsdd"), data.test("kolektorsdd")
    assert [s.id for s in train] == [
        "kos01/Part0",
        "kos02/Part0",
        "kos02/Part1",
        "kos03/Part0",
        "kos04/Part0",
        "kos04/Part1",
    ]
    assert {(s.label, s.defect, s.mask) for s in train} == {(0, "good", None)}
    assert [(s.id, s.label) for s in test] == [
        ("kos01/Part1", 1),
        ("kos03/Part1", 1),
        ("kos05/Part0", 0),
        ("kos05/Part1", 1),
    ]
    folder = sdd / "kos01"
    assert test[0] == Sample(
        folder / "Part1.jpg",
        "kos01/Part1",
        "kolektorsdd",
        1,
        "defect",
        folder / "Part1_label.bmp",
    )


def test_sdd2(sdd2):
    data = load_dataset("kolektorsdd2", sdd2)
    assert [s.id for s in data.train("kolektorsdd2")] == ["train/10000", "train/10002"]
    mask = sdd2 / "test/20001_GT.png"
    assert data.test("kolektorsdd2") == [
        Sample(sdd2 / "test/20000.png", "test/20000", "kolektorsdd2", 0, "good"),
        Sample(sdd2 / "test/20001.png", "test/20001", "kolektorsdd2", 1, "defect", mask),
    ]


def test_missing_masks_are_told(sdd):
    (sdd / "kos02/Part1_label.bmp").unlink()
    with pytest.raises(InputError, match=r"kos02/Part1.jpg has no mask Part1_label.bmp"):
        KolektorSDD(sdd).test("kolektorsdd")


def test_missing_mask_of_sdd2(sdd2):
    (sdd2 / "train/10002_GT.png").unlink()
    data = KolektorSDD2(sdd2)
    with pytest.raises(InputError, match=r"train/10002.png has no mask 10002_GT.png"):
        data.train("kolektorsdd2")
    assert len(data.test("kolektorsdd2")) == 2


def test_damaged_mask_is_told(sdd2):
    (sdd2 / "test/20001_GT.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"20001_GT\.png"):
        KolektorSDD2(sdd2).test("kolektorsdd2")


@pytest.mark.parametrize(
    "reader, says", [(KolektorSDD, "kos01/Part0_label.bmp"), (KolektorSDD2, "train/10000_GT.png")]
)
def test_other_layouts_are_told_what_was_expected(tmp_path, fill, reader, says):
    with pytest.raises(InputError, match=f"layout; put .*{says}"):
        reader(fill(tmp_path, ["train/good/0.png", "test/good/0.png"]))


def test_unknown_category_and_nothing_to_refer_to(sdd):
    with pytest.raises(InputError, match="unknown category 'kos01'; choose from kolektorsdd"):
        KolektorSDD(sdd).test("kos01")
    for part in [*sdd.glob("kos0[1-4]/Part0.jpg"), *sdd.glob("kos0[24]/Part1.jpg")]:
        part.unlink()
    with pytest.raises(InputError, match="has no train images"):
        KolektorSDD(sdd).train("kolektorsdd")
