"""Heads that judge a whole list of images jointly, through runs, evaluation and detectors."""

import csv
import json

import numpy as np
import pytest
import torch

from vlad.errors import HeadError
from vlad.evaluation import Entry, evaluate_category
from vlad.heads import Head, load_head
from vlad.runs.run import Settings, run
from vlad.scoring.setup import Setup
from vlad.types import FeatureSpec, Sample, Scores


class Centred(Head):
    """The mean of an image's first channel, less that of all images: needs all of them."""

    bank = None
    normals = "unused"
    map_range = (-100.0, 100.0)
    transductive = True

    def __init__(self, refuse=False):
        self.refuse = refuse

    def spec(self, backbone):
        return FeatureSpec(layers=(1,), image=False)

    def score(self, features, text=None):
        raise HeadError("centred judges a list jointly; give it a list.")

    def pool(self):
        return CentredPool(self.refuse)


class CentredPool:
    def __init__(self, refuse):
        self.refuse, self.values, self.size = refuse, [], None

    def add(self, features, text=None):
        self.values += features.patches[1][..., 0].mean(dim=1).tolist()
        self.size = features.size

    def scores(self, progress=None):
        if self.refuse:
            raise HeadError("centred will not.")
        found = torch.tensor(self.values) - np.mean(self.values)
        for part in found.split(4):
            if progress:
                progress(1, 2)
            yield Scores(part, part[:, None, None].expand(-1, *self.size))


def samples(folder, labels=None, category=None):
    paths = sorted(folder.glob("*.png"))
    labels = labels or [None] * len(paths)
    return [
        Sample(path, path.stem, category=category, label=label)
        for path, label in zip(paths, labels, strict=True)
    ]


def rows(out):
    with open(out / "scores.csv", newline="") as file:
        return {row["path"].rpartition("/")[2]: row for row in csv.DictReader(file)}


def start(backbone, images, out, heads=("centred",), refuse=False, **options):
    made = {name: Centred(refuse) if name == "centred" else load_head(name) for name in heads}
    settings = Settings(Setup(batch_size=2), "nut")
    return run(backbone, made, samples(images), settings, out, **options)


def test_scores_are_of_all_images_together(small_backbone, images, tmp_path):
    finished = start(small_backbone, images, tmp_path / "run", ("winclip", "centred"))
    found = [float(row["centred"]) for row in rows(tmp_path / "run").values()]
    assert len(found) == 6
    assert np.mean(found) == pytest.approx(0, abs=1e-6)
    assert np.std(found) > 1e-3
    assert all(row["winclip"] for row in rows(tmp_path / "run").values())
    settings = json.loads((tmp_path / "run" / "run.json").read_text())
    assert settings["protocol"] == {"winclip": "zero-shot", "centred": "transductive, zero-shot"}
    assert "centred (transductive)" in finished.report.read_text()
    for i in range(6):
        assert (tmp_path / "run" / "maps" / "centred" / f"{i}.png").is_file()


def test_a_bad_image_does_not_disturb_the_others(small_backbone, images, tmp_path):
    start(small_backbone, images, tmp_path / "good")
    (images / "3a.png").write_bytes(b"not an image")
    start(small_backbone, images, tmp_path / "run")
    found = rows(tmp_path / "run")
    assert found["3a.png"]["error"] and not found["3a.png"]["centred"]
    for name, row in rows(tmp_path / "good").items():
        assert float(found[name]["centred"]) == pytest.approx(float(row["centred"]), abs=1e-6)


def test_what_the_other_heads_found_is_kept_when_the_comparison_fails(
    small_backbone, images, tmp_path
):
    start(small_backbone, images, tmp_path / "run", ("winclip", "centred"), refuse=True)
    for row in rows(tmp_path / "run").values():
        assert row["error"] == "centred will not."
        assert float(row["winclip"])


def test_resuming_ends_the_same_and_spares_the_other_heads(
    small_backbone, images, tmp_path, monkeypatch
):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    heads = ("winclip", "centred")
    start(small_backbone, images, whole, heads)
    start(small_backbone, images, stopped, heads)
    # as a kill before the comparison leaves it
    (stopped / "joint.sha256").unlink()
    for path in (stopped / "maps" / "centred").iterdir():
        path.unlink()
    windows = []
    monkeypatch.setattr("vlad.backbones.vit.pass_windows", lambda *a, **k: windows.append(a))
    start(small_backbone, images, stopped, heads, resume=True)
    assert not windows
    monkeypatch.undo()
    for name, row in rows(whole).items():
        assert float(rows(stopped)[name]["centred"]) == pytest.approx(float(row["centred"]))
        assert rows(stopped)[name]["winclip"] == row["winclip"]


def assert_one_comparison(backbone, images, out, fresh):
    """The scores in `out` are those of a run from scratch."""
    start(backbone, images, fresh)
    found = {name: row["centred"] for name, row in rows(out).items() if row["centred"]}
    expected = {name: row["centred"] for name, row in rows(fresh).items() if row["centred"]}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(float(value), abs=1e-6)


def test_scores_of_two_comparisons_never_stand_side_by_side(
    small_backbone, images, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    late = {name: (images / name).read_bytes() for name in ("0.png", "5.png")}
    for name in late:
        (images / name).unlink()
    start(small_backbone, images, out)
    for name, content in late.items():
        (images / name).write_bytes(content)

    def killed(self, progress=None):
        yield next(CentredPool.scores_of(self, progress))
        raise KeyboardInterrupt

    monkeypatch.setattr(CentredPool, "scores_of", CentredPool.scores, raising=False)
    monkeypatch.setattr(CentredPool, "scores", killed)
    with pytest.raises(KeyboardInterrupt):  # after the first images of the new comparison
        start(small_backbone, images, out, resume=True)
    monkeypatch.undo()
    start(small_backbone, images, out, resume=True)
    assert_one_comparison(small_backbone, images, out, tmp_path / "fresh")


def test_an_image_taken_away_is_no_longer_compared(small_backbone, images, tmp_path):
    out = tmp_path / "run"
    start(small_backbone, images, out)
    (images / "2.png").unlink()
    start(small_backbone, images, out, resume=True)
    assert "2.png" not in rows(out)
    assert_one_comparison(small_backbone, images, out, tmp_path / "fresh")


@pytest.mark.parametrize("lost", [1, 6])
def test_rows_that_were_deleted_are_compared_again(small_backbone, images, tmp_path, lost):
    out = tmp_path / "run"
    start(small_backbone, images, out)
    lines = (out / "scores.csv").read_text().splitlines(keepends=True)
    (out / "scores.csv").write_text("".join(lines[:-lost]))
    start(small_backbone, images, out, resume=True)
    assert len(rows(out)) == 6
    assert_one_comparison(small_backbone, images, out, tmp_path / "fresh")


def test_a_finished_comparison_is_not_repeated_but_a_mended_image_is_tried_again(
    small_backbone, images, drawn, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    (images / "6.png").write_bytes(b"not an image")
    start(small_backbone, images, out)
    compared = []
    monkeypatch.setattr(CentredPool, "add", lambda *a: compared.append(a))
    start(small_backbone, images, out, resume=True)
    assert not compared
    monkeypatch.undo()
    drawn[0].rotate(90).save(images / "6.png")
    start(small_backbone, images, out, resume=True)
    assert rows(out)["6.png"]["centred"]
    assert_one_comparison(small_backbone, images, out, tmp_path / "fresh")


def test_categories_are_compared_apart(small_backbone, images, tmp_path):
    found = samples(images)
    mixed = [Sample(s.path, s.id, category="bolt" if i % 2 else "nut") for i, s in enumerate(found)]
    run(small_backbone, {"centred": Centred()}, mixed, Settings(), tmp_path / "run")
    values = [float(row["centred"]) for row in rows(tmp_path / "run").values()]
    assert np.mean(values[::2]) == pytest.approx(0, abs=1e-6)
    assert np.mean(values[1::2]) == pytest.approx(0, abs=1e-6)


def test_one_image_of_a_category_is_refused_before_anything_is_written(
    small_backbone, images, tmp_path
):
    one = samples(images)[:1]
    with pytest.raises(HeadError, match="only one of category nut"):
        run(
            small_backbone,
            {"centred": Centred()},
            one,
            Settings(category="nut"),
            tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()


def test_evaluation(small_backbone, images):
    test = samples(images, [0, 0, 0, 0, 1, 1])
    centred, winclip = evaluate_category(
        small_backbone,
        [Entry("centred", Centred()), Entry("winclip", load_head("winclip"))],
        "nut",
        [],
        test,
    )
    assert centred.protocol == "transductive, zero-shot"
    assert winclip.protocol == "zero-shot"
    assert 0 <= centred.metrics["image_auroc"] <= 1
