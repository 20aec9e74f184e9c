"""Real-IAD: its JSON split, its views, its sizes."""

import json

import pytest

from vlad.datasets import load_dataset
from vlad.datasets.real_iad import RealIAD
from vlad.errors import InputError
from vlad.types import Sample

CATEGORY, JSON = "audiojack", "realiad_jsons/realiad_jsons/audiojack.json"


def entry(kind, folder, view, mask=False):
    stem = f"{folder}/{CATEGORY}_{folder[-4:]}_{view}"
    return {
        "category": CATEGORY,
        "anomaly_class": kind,
        "image_path": f"{stem}.jpg",
        "mask_path": f"{stem}.png" if mask else None,
    }


TRAIN = [entry("OK", "OK/S0001", view) for view in ("C1", "C2")]
TEST = [
    entry("OK", "OK/S0007", "C1"),
    entry("OK", "NG/BX/S0001", "C1"),  # its damage shows on the second view only
    entry("BX", "NG/BX/S0001", "C2", mask=True),
    entry("QS", "NG/QS/S0001", "C1", mask=True),
]
META = {"prefix": "audiojack/", "normal_class": "OK", "pre_transform": None}


@pytest.fixture
def real_iad(tmp_path, fill):
    """Writes the tree; the data go into the JSON, `leave_out` is a file not to write."""

    def write(data, leave_out=None, size="realiad_1024", place=JSON):
        entries = TRAIN + TEST
        names = [e[key] for e in entries for key in ("image_path", "mask_path") if e[key]]
        fill(tmp_path / size / CATEGORY, [name for name in names if name != leave_out])
        fill(tmp_path, [place])
        text = data if isinstance(data, str) else json.dumps(data)
        (tmp_path / place).write_text(text)
        return tmp_path

    return write


SPLIT = {"meta": META, "train": TRAIN, "test": TEST}


@pytest.mark.parametrize("size", ["realiad_1024", "realiad_256", "realiad_raw"])
@pytest.mark.parametrize("place", [JSON, "realiad_jsons/audiojack.json"])
def test_views_are_grouped_by_object(real_iad, size, place):
    root = real_iad(SPLIT, size=size, place=place)
    data = load_dataset("real_iad", root)
    assert list(data.categories) == [CATEGORY]
    assert [sample.group for sample in data.train(CATEGORY)] == ["OK/S0001", "OK/S0001"]
    samples = data.test(CATEGORY)
    assert [(s.label, s.defect, s.group) for s in samples] == [
        (0, "good", "OK/S0007"),
        (0, "good", "NG/BX/S0001"),
        (1, "BX", "NG/BX/S0001"),
        (1, "QS", "NG/QS/S0001"),
    ]
    stem = "NG/BX/S0001/audiojack_0001_C2"
    folder = root / size / CATEGORY
    assert samples[2] == Sample(
        folder / f"{stem}.jpg", stem, CATEGORY, 1, "BX", folder / f"{stem}.png", "NG/BX/S0001"
    )
    assert len({sample.id for sample in samples}) == len(samples)
    assert all(s.path.exists() and (s.mask is None or s.mask.exists()) for s in samples)


def test_largest_of_the_usual_sizes_is_read(real_iad):
    real_iad(SPLIT, size="realiad_256")
    data = RealIAD(real_iad(SPLIT, size="realiad_512"))
    assert all("realiad_512" in sample.path.parts for sample in data.test(CATEGORY))


def test_defects_among_the_train_images_are_left_out(real_iad):
    data = RealIAD(real_iad(SPLIT | {"train": TRAIN + TEST}))
    assert [sample.label for sample in data.train(CATEGORY)] == [0] * 4


@pytest.mark.parametrize("key", ["mask_path", "image_path"])
def test_missing_file_is_told(real_iad, key):
    data = RealIAD(real_iad(SPLIT, leave_out=TEST[2][key]))
    with pytest.raises(InputError, match=rf"audiojack.json names .*{TEST[2][key]}, which does not"):
        data.test(CATEGORY)


@pytest.mark.parametrize(
    "data, says",
    [
        ("{", "is not JSON"),
        ([], "not a Real-IAD split"),
        ({"meta": META, "train": TRAIN}, "not a Real-IAD split"),
        ({"meta": META, "test": [{"image_path": "a.jpg"}]}, "not a Real-IAD split"),
        ({"meta": META, "test": []}, "lists no test images"),
    ],
)
def test_unusable_json(real_iad, data, says):
    data = RealIAD(real_iad(data))
    with pytest.raises(InputError, match=says):
        data.test(CATEGORY)


def test_missing_json_images_and_category(tmp_path, fill, real_iad):
    for names in (["realiad_1024/audiojack/a.jpg"], [JSON]):
        (folder := tmp_path / names[0].split("/")[0]).mkdir()
        with pytest.raises(InputError, match="put realiad_1024/<category>"):
            RealIAD(fill(folder, names))
    with pytest.raises(InputError, match="unknown category 'usb'; choose from audiojack"):
        RealIAD(real_iad(SPLIT)).test("usb")
