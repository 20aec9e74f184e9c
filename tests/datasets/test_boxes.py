"""Boxes of a detector: read from COCO, and given to the images they are of."""

import json
from pathlib import Path

import pytest

from vlad.datasets.boxes import boxed, read_boxes, with_boxes
from vlad.errors import InputError
from vlad.types import Box, Sample

GOOD = {
    "images": [
        {"id": 1, "file_name": "a/0.png", "width": 200, "height": 100},
        {"id": "two", "file_name": "1.png", "width": 50, "height": 50},
    ],
    "categories": [{"id": 7, "name": "scratch"}],
    "annotations": [
        {"image_id": 1, "bbox": [20, 10, 40, 50], "score": 0.5, "phrase": "large dent"},
        {"image_id": 1, "bbox": [0, 0, 200, 100], "score": 1, "category_id": 7},
    ],
}


@pytest.fixture
def write(tmp_path):
    def write(content):
        file = tmp_path / "boxes.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file

    return write


def changed(**changes):
    """The file with other values in the first entries: key -> values."""
    content = json.loads(json.dumps(GOOD))
    for key, values in changes.items():
        content[key][0] |= values
    return content


def test_boxes_are_fractions_with_score_and_phrase(write):
    assert read_boxes(write(GOOD)) == {
        "a/0.png": (
            Box((0.1, 0.1, 0.3, 0.6), 0.5, "large dent"),
            Box((0.0, 0.0, 1.0, 1.0), 1.0, "scratch"),
        ),
        "1.png": (),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a JSON file"),
        ([], "the file has no list 'images'"),
        ({"images": []}, "the file has no list 'annotations'"),
        (
            changed(annotations={"bbox": [180, 0, 40, 10]}),
            r"annotations\[0\] has the bbox \[180, .* outside",
        ),
        (changed(annotations={"bbox": [-1, 0, 40, 10]}), "outside its image"),
        (changed(annotations={"bbox": [0, 60, 40, 50]}), "outside its image"),
        (changed(annotations={"bbox": [0, 0, 0, 10]}), "empty or outside its image"),
        (changed(annotations={"bbox": [0, 0, 40]}), r"has bbox \[0, 0, 40\], which does not fit"),
        (changed(annotations={"bbox": [0, 0, 4, float("nan")]}), "has bbox"),
        (changed(annotations={"score": 1.5}), "has score 1.5, which does not fit"),
        (changed(annotations={"score": True}), "has score"),
        (changed(annotations={"image_id": 3}), "is of an image_id that no image has"),
        (changed(annotations={"phrase": ""}), "neither phrase nor the category_id"),
        (changed(images={"width": 0}), r"images\[0\] has width 0"),
        (changed(images={"id": "two"}), r"images\[1\] has an id that another one has"),
        (changed(images={"file_name": "1.png"}), "two images have one file_name"),
        (changed(categories={"name": ""}), r"categories\[0\] has name"),
        ({**GOOD, "images": [3]}, r"images\[0\] is not an object"),
    ],
)
def test_faults_name_file_and_entry(write, content, message):
    with pytest.raises(InputError, match=message) as error:
        read_boxes(write(content))
    assert "boxes.json" in str(error.value)


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_boxes(tmp_path / "none.json")


def samples(*paths):
    return [Sample(Path(path), path) for path in paths]


def test_a_name_is_a_path_or_its_end():
    one, two = (Box((0.0, 0.0, 0.5, 0.5), score, "dent") for score in (0.1, 0.2))
    given = {"x/0.png": (one,), str(Path("y/0.png").absolute()): (two,)}
    found = with_boxes(samples("x/0.png", "y/0.png", "y/1.png"), given, "f")
    assert [sample.boxes for sample in found] == [(one,), (two,), ()]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["2.png"], "f: the file_name '2.png' names no image of those to score"),
        (["0.png"], "'0.png' names 2 images of those to score"),
        (["x/0.png", str(Path("x/0.png").absolute())], "names 2 images"),
    ],
)
def test_names_must_tell_one_image(names, message):
    with pytest.raises(InputError, match=message):
        with_boxes(samples("x/0.png", "y/0.png"), dict.fromkeys(names, ()), "f")


def test_test_images_of_data_sets(write):
    class Data:
        categories = ("a", "b")

        def train(self, category):
            return samples(f"train/{category}.png")

        def test(self, category):
            return samples(f"{category}/0.png", f"{category}/{category}1.png")

    content = changed(images={"file_name": "s/b/0.png"})
    content["images"].pop()
    with pytest.raises(InputError, match="names no image"):
        boxed({"s": Data()}, write(content))
    content["images"][0]["file_name"] = "b/0.png"
    found = boxed({"s": Data()}, write(content))["s"]
    assert [len(sample.boxes) for sample in found.test("b")] == [2, 0]
    assert not any(sample.boxes for sample in (*found.test("a"), *found.train("b")))
