"""Images at full size, two heads side by side and the region of interest, in a real browser."""

import re
from dataclasses import replace

import numpy as np
import pytest
from report_runs import move, verdicts, write

from vlad.calibration import Calibration
from vlad.images import read_image
from vlad.images.interest import RegionOfInterest
from vlad.report import write_report
from vlad.report.overlays import shared_scales, write_overlays
from vlad.results.coco import RegionFinder
from vlad.results.verdicts import Judged


def test_full_size_shows_the_file_its_heat_map_and_its_neighbours(page):
    from playwright.sync_api import expect

    page.locator("#gallery .view").first.click()
    full, photo, heat = (page.locator(q) for q in ("#full", "#full .photo", "#full .heat"))
    expect(full).to_be_visible()
    width = "image => image.decode().then(() => image.naturalWidth)"
    assert photo.evaluate(width) == 1200  # the file, not the thumbnail
    assert heat.is_hidden()
    page.keyboard.press("h")
    assert heat.is_visible() and heat.evaluate(width) == 1024  # as maps are stored
    assert photo.evaluate("image => image.clientWidth") <= page.viewport_size["width"]
    page.keyboard.press("z")
    for image in (photo, heat):
        assert image.evaluate("image => [image.clientWidth, image.clientHeight]") == [1200, 900]
    page.keyboard.press("j")
    expect(page.locator("#full-name")).to_have_text("4.png")
    page.locator("#full [data-do=next]").click()
    expect(page.locator("#full-name")).to_have_text("=3 #é.png")
    assert photo.evaluate(width) == 1200
    assert heat.is_visible()  # as chosen before
    page.keyboard.press("k")
    page.keyboard.press("g")  # marks, and goes on
    expect(page.locator("#full-name")).to_have_text("=3 #é.png")
    page.keyboard.press("Escape")
    expect(full).to_be_hidden()
    assert page.locator("[aria-current=true] .name").text_content() == "=3 #é.png"
    page.wait_for_function("document.activeElement.className === 'view'")


def test_full_size_without_the_files_shows_thumbnails_and_says_so(visit, run, tmp_path):
    from playwright.sync_api import expect

    write(*run)
    (tmp_path / "alone").mkdir()
    (tmp_path / "run" / "report.html").rename(tmp_path / "alone" / "report.html")
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    page = visit(tmp_path / "alone")
    page.locator("#gallery .view").first.click()
    expect(page.locator("#full .about")).to_have_text(re.compile("this is its thumbnail"))
    width = "image => image.decode().then(() => image.naturalWidth)"
    assert page.locator("#full .photo").evaluate(width) == 320
    page.keyboard.press("h")
    assert page.locator("#full .heat").evaluate(width) == 320


def test_two_heads_side_by_side(page):
    from playwright.sync_api import expect

    card = page.locator("#gallery .card").first
    seen = lambda: card.locator(".heat:visible").all()  # noqa: E731
    assert len(seen()) == 1
    page.select_option("[name=beside]", "1")
    left, right = (image.bounding_box() for image in seen())
    assert left["x"] + left["width"] <= right["x"] + 1 and left["y"] == right["y"]
    for image in seen():
        expect(image).to_have_css("opacity", "1")
    assert card.locator(".rank:visible").all_text_contents() == ["winclip #1", "memory #6"]
    move(page, 0.05)
    move(page, -0.05, head=1)
    assert verdicts(page)[0] == (
        "winclip Anomalous by the slider memory Normal by the slider · missed"
    )
    page.select_option("[name=beside]", "")
    assert len(seen()) == 1
    assert card.locator(".rank:visible").all_text_contents() == ["#1"]


def test_each_head_shows_its_own_regions(visit, run, tmp_path):
    run, samples = run
    thresholds = {"winclip": 0.9, "memory": 0.2}
    finder = RegionFinder(thresholds)
    calibration = replace(
        Calibration.fixed("winclip", 0.3), thresholds={"winclip": 0.3, "memory": 0}
    )
    judged = Judged(calibration, {}, thresholds)
    scales = shared_scales(run, samples)
    write_overlays(run, samples, scales, read_image, finder.add)
    write_report(run, samples, scales, read_image, "now", judged=judged, finder=finder)
    page = visit(tmp_path / "run")
    drawn = lambda head: page.locator(f"#gallery .regions[data-head='{head}']:visible")  # noqa: E731
    counts = [sum(map(bool, finder.regions[head].values())) for head in thresholds]
    assert 0 < counts[0] < counts[1]
    assert [drawn(0).count(), drawn(1).count()] == [counts[0], 0]
    page.locator("input[name=head][value='1']").check(force=True)
    assert [drawn(0).count(), drawn(1).count()] == [0, counts[1]]
    page.select_option("[name=beside]", "0")
    assert [drawn(0).count(), drawn(1).count()] == counts


def test_the_region_of_interest_is_drawn(visit, run, tmp_path):
    mask = np.zeros((9, 12), bool)
    mask[2:7, 3:9] = True
    mask[4, 5] = False
    write(*run, limit=3, region=RegionOfInterest.of(mask))
    page = visit(tmp_path / "run")
    assert page.locator("#gallery .interest").count() == 6
    card = page.locator("#gallery .card").first
    view, drawn = card.locator(".view").bounding_box(), card.locator(".interest use").bounding_box()
    # 900 of 1200 pixels high in a square
    assert drawn["x"] - view["x"] == pytest.approx(view["width"] * 3 / 12, abs=4)
    assert drawn["y"] - view["y"] == pytest.approx(view["width"] * (0.125 + 0.75 * 2 / 9), abs=4)
