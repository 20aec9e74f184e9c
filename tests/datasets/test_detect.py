"""Layouts told from the names in a folder."""

import pytest

from vlad.datasets import load_dataset
from vlad.datasets.detect import detect
from vlad.datasets.mvtec import BTAD
from vlad.errors import InputError


@pytest.mark.parametrize(
    "layout, names",
    [
        ("mvtec", ["bottle/train/good/0.png", "bottle/test/crack/0.png"]),
        ("mvtec", ["train/good/0.png", "test/good/0.png"]),
        ("mvtec", ["box/test/good/0.png", "box/ground_truth/logical_anomalies/0/0.png"]),
        ("btad", ["01/train/ok/0.bmp", "01/test/ok/0.bmp"]),
        ("btad", ["train/ok/0.bmp", "test/ok/0.bmp"]),
        ("visa", ["split_csv/1cls.csv", "candle/Data/Images/Normal/0.JPG"]),
        ("kolektorsdd", ["kos01/Part0.jpg", "kos01/Part0_label.bmp"]),
        ("kolektorsdd2", ["train/1.png", "train/1_GT.png", "test/2.png", "test/2_GT.png"]),
        ("real_iad", ["realiad_1024/usb/OK/S0001/a.jpg", "realiad_jsons/usb.json"]),
        ("mvtec", ["box/Test/Good/0.png", "box/Train/Good/0.png"]),
        ("mvtec_ad_2", ["can/test_public/good/0.png", "can/train/good/0.png"]),
        ("mvtec_ad_2", ["test_public/bad/0.png", "train/good/0.png"]),
        ("mvtec", ["test/crack/0.png", "ground_truth/crack/0_mask.png"]),
        ("folder", ["normal/0.png", "scratch/0.png", "train/0.png"]),
        ("folder", ["Good/0.png", "scratch/0.png", "ground_truth/scratch/0.png"]),
        ("folder", ["scratch/0.png", "masks/scratch/0.png"]),
    ],
)
def test_each_layout(tmp_path, fill, layout, names):
    assert detect(fill(tmp_path, names)) == layout


def test_manifest_is_a_file(tmp_path, fill):
    assert detect(fill(tmp_path, ["list.CSV"]) / "list.CSV") == "csv"


def test_auto_opens_what_it_finds(tmp_path, fill):
    data = load_dataset("auto", fill(tmp_path, ["01/train/ok/0.bmp", "01/test/ok/1.bmp"]))
    assert isinstance(data, BTAD) and list(data.categories) == ["01"]


def test_nothing_recognised(tmp_path, fill):
    with pytest.raises(InputError, match=r"none of split_csv/1cls.csv \(visa\), .*test/good"):
        load_dataset("auto", fill(tmp_path, ["a/0.png", "b/1.png"]))
    with pytest.raises(InputError, match="there is no folder"):
        load_dataset("auto", tmp_path / "none")
