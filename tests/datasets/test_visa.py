"""VisA and its own CSV split."""

import re

import pytest

from vlad.datasets import load_dataset
from vlad.datasets.visa import VisA
from vlad.errors import InputError
from vlad.types import Sample

HEADER = "object,split,label,image,mask"
NORMAL = "{0},{1},normal,{0}/Data/Images/Normal/{2}.JPG,"
ANOMALY = "{0},test,anomaly,{0}/Data/Images/Anomaly/{1}.JPG,{0}/Data/Masks/Anomaly/{1}.png"
LINES = [
    NORMAL.format("pcb1", "train", "0000"),
    NORMAL.format("candle", "train", "0836"),
    NORMAL.format("candle", "train", "0451"),
    NORMAL.format("candle", "test", "0003"),
    ANOMALY.format("candle", "000"),
    ANOMALY.format("candle", "003"),
]


@pytest.fixture
def visa(tmp_path, fill):
    """Writes the tree; `lines` go into the CSV, `leave_out` is a file not to write."""

    def write(lines=LINES, header=HEADER, leave_out=None):
        names = {cell for line in LINES for cell in line.split(",")[3:] if cell}
        fill(tmp_path, [*sorted(names - {leave_out}), "LICENSE-DATASET", "split_csv/1cls.csv"])
        (tmp_path / "split_csv/1cls.csv").write_text("\n".join([header, *lines]) + "\n")
        return tmp_path

    return write


def test_split_labels_and_masks(visa):
    root = visa()
    data = load_dataset("visa", root)
    assert list(data.categories) == ["candle", "pcb1"]
    images, masks = root / "candle/Data/Images", root / "candle/Data/Masks/Anomaly"
    assert [sample.path.stem for sample in data.train("candle")] == ["0836", "0451"]
    assert {(s.label, s.defect, s.mask) for s in data.train("candle")} == {(0, "good", None)}
    assert data.test("candle") == [
        Sample(images / "Normal/0003.JPG", "Data/Images/Normal/0003", "candle", 0, "good"),
        *(
            Sample(
                images / f"Anomaly/{stem}.JPG",
                f"Data/Images/Anomaly/{stem}",
                "candle",
                1,
                "anomaly",
                masks / f"{stem}.png",
            )
            for stem in ("000", "003")
        ),
    ]
    assert all(sample.mask.exists() for sample in data.test("candle")[1:])


def test_columns_may_come_in_any_order(visa):
    turned = [",".join(line.split(",")[::-1]) for line in LINES]
    data = VisA(visa(turned, header=",".join(HEADER.split(",")[::-1])))
    assert [sample.label for sample in data.test("candle")] == [0, 1, 1]


@pytest.mark.parametrize(
    "name", ["candle/Data/Masks/Anomaly/003.png", "candle/Data/Images/Anomaly/003.JPG"]
)
def test_missing_file_is_told_with_its_line(visa, name):
    data = VisA(visa(leave_out=name))
    with pytest.raises(InputError, match=rf"line 7 of .*1cls.csv names .*{name}, which does not"):
        data.test("candle")


@pytest.mark.parametrize(
    "line, says",
    [
        ("candle,val,normal,a.JPG,", "line 8 of"),
        ("candle,test,good,a.JPG,", "label 'good'; write train or test, and normal or anomaly"),
    ],
)
def test_unknown_split_or_label(visa, line, says):
    with pytest.raises(InputError, match=re.escape(says)):
        VisA(visa([*LINES, line]))


def test_missing_csv_columns_category_and_split(visa, tmp_path):
    with pytest.raises(InputError, match=r"not in VisA layout; put split_csv/1cls.csv"):
        VisA(tmp_path)
    with pytest.raises(InputError, match="must name the columns object,split,label,image,mask"):
        VisA(visa(header="path,label"))
    data = VisA(visa())
    with pytest.raises(InputError, match=r"unknown category 'pcb2'\. Did you mean pcb1\?"):
        data.train("pcb2")
    with pytest.raises(InputError, match="lists no test images of pcb1"):
        data.test("pcb1")
