"""Reports of more images than have thumbnails, and the data that the script goes through."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_runs import NAMES, move, names, said, write

from vlad.calibration import Calibration
from vlad.images import read_image
from vlad.report import _ROWS, write_report
from vlad.results.folder import RunFolder
from vlad.results.rows import Row
from vlad.results.verdicts import Rules, judge
from vlad.scoring.record import digest_of
from vlad.types import Sample


def test_images_without_a_thumbnail_load_from_their_files(visit, run, tmp_path):
    write(*run, limit=2)
    page = visit(tmp_path / "run")
    assert names(page) == [*reversed(NAMES)]
    assert page.locator("#rest").count() == 0
    card = page.locator("#gallery .card").nth(2)
    assert card.locator("img").count() == 3
    for image, width in zip(card.locator("img").all(), (1200, 1024, 1024), strict=True):
        found = image.evaluate(
            "i => { i.loading = 'eager'; return i.decode().then(() => i.naturalWidth) }"
        )
        assert found == width
    assert card.locator(".score:visible").text_content() == "0.3000"
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    page.reload()
    assert len(names(page)) == 6


def test_ten_thousand_images(visit, tmp_path):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=10_000).astype(np.float32)
    run = RunFolder(tmp_path / "run", {"memory": (0.0, 1.0)}, {}, "none").create()
    (tmp_path / "in").mkdir()
    samples = [Sample(tmp_path / "in" / f"{i:05}.png", f"{i:05}") for i in range(10_000)]
    for sample in samples[:3]:
        Image.new("RGB", (40, 30)).save(sample.path)
    run.append(
        [Row(str(s.path), {"memory": float(v)}) for s, v in zip(samples, scores, strict=True)]
    )
    found = judge(run, samples, Rules(calibration=Calibration.fixed("memory", 2.0)))
    file = write_report(
        run, samples, {}, lambda path: Image.new("RGB", (40, 30)), "now", judged=found
    )
    assert file.stat().st_size < 2_000_000
    page = visit(tmp_path / "run")
    assert page.locator(".count").text_content() == "10000 images"
    assert page.locator("#gallery .card").count() == 200
    assert said(page) == f"{(scores > 2).sum()} would alarm, {(scores <= 2).sum()} would pass."
    order = [f"{i:05}.png" for i in np.argsort(-scores, kind="stable")]
    assert names(page) == order[:200]
    page.locator("[data-do=on]").click()
    assert names(page) == order[200:400]
    assert page.locator(".pages span").text_content() == "Page 2 of 50"
    page.locator("#gallery .view").last.press("j")  # over the edge of the page
    assert page.locator("[aria-current=true] .name").text_content() == order[400]
    page.fill("input[type=search]", "0999")
    assert names(page) == [name for name in order if "0999" in name]
    page.fill("input[type=search]", "")
    move(page, 0)
    assert said(page).startswith(f"{(scores > 0).sum()} would alarm")


def test_more_images_than_the_report_goes_through_are_counted(run, tmp_path, monkeypatch):
    monkeypatch.setattr("vlad.report._ROWS", 4)
    text = write(*run)
    found = found_in(text)
    # the four that a head ranks worst, of both heads
    assert found["names"] == ["5.png", "4.png", "1.png", "0.png"]
    assert "These are the 4 images that a head ranks worst; the other 2" in text
    assert _ROWS > 10_000


def test_digests_are_those_of_the_files_and_empty_for_those_that_are_gone(run):
    run, samples = run
    samples[0].path.unlink()
    text = write(run, samples)
    found = found_in(text)
    assert found["digests"][-1] == ""
    assert found["digests"][0] == digest_of(samples[5].path)


def found_in(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text)[1])


def test_names_cannot_end_the_data(tmp_path):
    folder = tmp_path / "in" / "a<"
    folder.mkdir(parents=True)
    samples = [Sample(folder / "script><img src=x>.png", "0"), Sample(tmp_path / "in/b.png", "1")]
    run = RunFolder(tmp_path / "run", {"memory": (0.0, 1.0)}, {}, "none").create()
    run.append([Row(str(s.path), {"memory": 0.5}) for s in samples])
    text = write_report(run, samples, {}, read_image, "now").read_text("utf-8")
    assert found_in(text)["names"] == ["a</script><img src=x>.png", "b.png"]
    assert "<img src=x>" not in text


@pytest.mark.parametrize("given", ["in/a.png", "./in/b/a.png", "../{0}/in/a.png", "{1}/in/a.png"])
def test_names_and_links_lead_to_the_images(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in" / "b").mkdir(parents=True)
    paths = [Path(given.format(tmp_path.name, tmp_path)), Path("in/c.png")]
    run = RunFolder("runs/one", {"memory": (0.0, 1.0)}, {}, "none").create()
    run.append([Row(str(path), {"memory": 0.5}) for path in paths])
    samples = [Sample(path, str(i)) for i, path in enumerate(paths)]
    for path in paths:
        Image.new("RGB", (4, 3)).save(path)
    found = found_in(write_report(run, samples, {}, read_image, "now").read_text("utf-8"))
    assert [found["folder"] + name for name in found["names"]] == [str(path) for path in paths]
    if found["link"] is not None:  # none where relative and absolute paths meet
        for path, name in zip(paths, found["names"], strict=True):
            assert Path("runs/one", found["link"], name).resolve() == path.resolve()
    assert (found["link"] is None) == given.startswith(("..", "{1}"))
