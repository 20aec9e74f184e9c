"""Reasons of a run on disk: what is found again, and what is no longer there."""

import json
import os

import numpy as np
import pytest
from finished_run import finished_run
from PIL import Image

from vlad.results.folder import RunFolder
from vlad.results.reasons import (
    append_reasons,
    finish_reasons,
    keep_crop,
    read_reasons,
    read_words,
)
from vlad.vlm.words import Words

GREY = Image.new("RGB", (40, 30), (90, 90, 90))


def told(crop=None, other=None, note="above 0.5"):
    """Explanations of an image under one head, with one region."""
    region = {"place": "top left", "texts": ["far off"], "crop": crop, "reference_crop": other}
    return {"memory": {"note": note, "regions": [region]}}


@pytest.fixture
def run(tmp_path):
    """A finished run of three images."""
    (tmp_path / "images").mkdir()
    paths = [tmp_path / "images" / name for name in ("a.png", "b \udce9.png", "c.png")]
    for path in paths:
        with open(path, "wb") as file:
            GREY.save(file, "PNG")
    maps = {path: np.zeros((4, 4)) for path in paths}
    scores = {path: 0.7 for path in paths}
    out = finished_run(tmp_path / "run", tmp_path / "images", scores, maps)
    return RunFolder.open(out), list(map(str, paths))


def test_reasons_come_back_by_path_and_the_last_ones_count(run):
    folder, (a, b, _) = run
    append_reasons(folder, a, told(note="first"))
    append_reasons(folder, b, told())
    append_reasons(folder, a, told(note="second"))
    assert read_reasons(folder) == {a: told(note="second"), b: told()}


def test_a_killed_command_loses_the_image_at_work_and_no_other(run):
    folder, (a, b, c) = run
    append_reasons(folder, a, told())
    append_reasons(folder, b, told())
    file = folder.out / "reasons.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    assert read_reasons(folder) == {a: told()}
    append_reasons(folder, c, told())
    assert read_reasons(folder) == {a: told(), c: told()}


def test_reasons_of_an_image_that_changed_are_not_its_own(run):
    folder, (a, b, _) = run
    append_reasons(folder, a, told())
    append_reasons(folder, b, told())
    line = json.loads((folder.out / "reasons.jsonl").read_text(encoding="ascii").splitlines()[0])
    line["state"][0] += 1  # its size
    (folder.out / "reasons.jsonl").write_text(json.dumps(line) + "\n[]\n{}\n", encoding="ascii")
    assert read_reasons(folder) == {}


def test_an_image_whose_crop_is_gone_is_explained_again(run):
    folder, (a, b, _) = run
    append_reasons(folder, a, told(keep_crop(folder, GREY)))
    append_reasons(folder, b, told(gone := keep_crop(folder, Image.new("RGB", (7, 7)))))
    (folder.out / gone).unlink()
    assert list(read_reasons(folder)) == [a]


def test_a_crop_is_kept_once_and_small(run):
    folder, _ = run
    large = Image.effect_noise((1000, 500), 60).convert("RGB")
    name = keep_crop(folder, large)
    with Image.open(folder.out / name) as found:
        assert found.size == (160, 80)
    assert keep_crop(folder, large) == name
    with Image.open(folder.out / keep_crop(folder, GREY)) as found:
        assert found.size == (40, 30)  # never enlarged
    assert len(os.listdir(folder.out / "reasons")) == 2


def test_crops_that_nothing_names_are_deleted_at_the_end(run):
    folder, (a, b, c) = run
    crop, other = keep_crop(folder, GREY), keep_crop(folder, Image.new("RGB", (9, 9)))
    left = keep_crop(folder, Image.new("RGB", (7, 7)))
    append_reasons(folder, a, told(left))
    append_reasons(folder, b, told(crop, other))
    append_reasons(folder, c, told(crop))
    finish_reasons(folder, {c: told(crop), b: told(crop, other)}, {})
    assert list(read_reasons(folder)) == [c, b]
    assert sorted(f"reasons/{name}" for name in os.listdir(folder.out / "reasons")) == sorted(
        [crop, other]
    )


def test_words_are_those_of_the_last_line_of_an_image(run):
    folder, (a, b, c) = run
    said, silent = Words("eye", True, "dent", confidence=0.5), Words("eye", error="no answer: 429")
    for path, words in ((a, said), (b, silent), (c, said), (c, None), (b, said), (b, silent)):
        append_reasons(folder, path, told(), words)
    assert read_words(folder) == {a: said, b: silent}
    finish_reasons(folder, {b: told(), a: told(), c: told()}, {a: said})
    assert read_words(folder) == {a: said}
    assert list(read_reasons(folder)) == [b, a, c]


def test_words_of_an_unknown_form_are_none(run):
    folder, (a, *_) = run
    append_reasons(folder, a, told(), Words("eye"))
    file = folder.out / "reasons.jsonl"
    for words in ({"model": "eye", "score": 1}, [], "dent", None):
        value = json.loads(file.read_text(encoding="ascii"))
        file.write_text(json.dumps({**value, "words": words}) + "\n", encoding="ascii")
        assert read_words(folder) == {} and list(read_reasons(folder)) == [a]
