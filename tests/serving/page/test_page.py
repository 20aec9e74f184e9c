"""The page at / in a real browser, as somebody at a line uses it."""

import csv
import re

import numpy as np
import pytest
from service_page import HOSTILE, drag, running, status

from vlad.serving.detectors import Served
from vlad.serving.keys import new_key, read_keys


def test_choose_judge_and_download(page, uploads, memory, drawn, tmp_path):
    page.set_input_files("#images", uploads)
    status(page, r"5 images · 1 anomalous · 1 failed$")
    scores = page.locator(".card .score").all_text_contents()
    expected = sorted(memory.score(drawn[:4]).image_score, reverse=True)
    assert [float(text) for text in scores[:3]] == pytest.approx(expected[:3], rel=1e-3)
    assert page.locator(".card .verdict").first.text_content() == "anomalous"
    # the heat map of the worst image shows
    drawn_heat = """canvas => { const d = canvas.getContext("2d")
        .getImageData(0, 0, canvas.width, canvas.height).data;
        return d.some((value, i) => i % 4 === 3 && value > 100); }"""
    assert page.locator("canvas.heat").first.evaluate(drawn_heat)
    assert page.locator(".regions path").count() >= 1
    # the threshold is on the scale of the heat, which is full no lower
    limit = memory.calibration_.map_thresholds["memory"]
    words = page.locator("#scale").text_content()
    assert f"regions above {limit:.4g}" in words
    assert float(words.partition("≥ ")[2].partition(",")[0]) >= float(f"{limit:.4g}")
    # a name is text
    assert page.get_by_text(HOSTILE, exact=True).count() == 1
    assert page.locator(".name img").count() == 0

    page.fill("#threshold", "-1")
    status(page, "4 anomalous")
    page.fill("#threshold", "1.5")
    status(page, "0 anomalous")
    page.locator("#slider").focus()
    page.keyboard.press("Home")
    status(page, "4 anomalous")
    with page.expect_download() as download:
        page.click("#csv")
    download.value.save_as(tmp_path / "scores.csv")
    with open(tmp_path / "scores.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["name"] for row in rows} == {"0.png", HOSTILE, "2.png", "'=3.png", "'@bad.png"}
    assert [row["verdict"] for row in rows] == ["anomalous"] * 4 + [""]
    assert rows[-1]["error"].startswith("cannot read @bad.png")
    assert float(rows[0]["image_score"]) == pytest.approx(expected[0], abs=1e-6)


def test_the_slider_reaches_images_that_are_dropped_while_it_has_the_focus(
    page, uploads, memory, drawn
):
    lowest, *others = (uploads[i] for i in np.argsort(memory.score(drawn[:4]).image_score))
    page.set_input_files("#images", [lowest])
    status(page, "1 image · 0 anomalous$")
    page.locator("#slider").focus()
    drag(page, "drop", others)
    status(page, "4 images · [1-4] anomalous$")
    page.keyboard.press("End")
    status(page, "4 images · 0 anomalous$")
    page.keyboard.press("Home")
    status(page, "4 images · 4 anomalous$")


def test_detectors_and_categories(page, uploads):
    page.set_input_files("#images", uploads[:2])
    status(page, "2 images · 0 anomalous$")
    before = page.locator(".card .score").first.text_content()
    assert page.locator("#category").is_hidden()
    page.select_option("#detector", "words")
    status(page, "2 images$")  # it is not calibrated
    after = page.locator(".card .score").first.text_content()
    assert after != before
    page.fill("#category", "cable")
    page.locator("#category").press("Enter")
    from playwright.sync_api import expect

    expect(page.locator(".card .score").first).not_to_have_text(re.compile(f"^({after}|)$"))


def test_normals_make_a_detector(page, uploads, address):
    page.set_input_files("#images", uploads[:1])
    status(page, "1 image · 0 anomalous$")
    page.fill("#name", "new")
    page.set_input_files("#normals", uploads[:2])
    page.click("#make-it")
    from playwright.sync_api import expect

    expect(page.locator("#detector")).to_have_value("new")
    expect(page.locator("#lead")).to_have_text(re.compile("Not calibrated"))
    status(page, "1 image$")
    page.click("#delete")
    expect(page.locator("#detector")).to_have_value("line")


def test_files_are_dropped_anywhere_on_the_page(page, uploads):
    from playwright.sync_api import expect

    over = re.compile(r"\bover\b")
    assert drag(page, "dragover", uploads[:2]) is False  # else the browser would open the file
    expect(page.locator("#drop")).to_have_class(over)
    assert drag(page, "drop", uploads[:2]) is False
    expect(page.locator("#drop")).not_to_have_class(over)
    status(page, "2 images · 0 anomalous$")
    assert set(page.locator(".card .name").all_text_contents()) == {"0.png", HOSTILE}


def test_the_page_asks_for_a_key(visit, memory, uploads, tmp_path):
    from playwright.sync_api import expect

    key = new_key(tmp_path / "keys.txt")
    with running([Served("line", memory)], read_keys(tmp_path / "keys.txt")) as address:
        page = visit(address)
        expect(page.locator("#login")).to_be_visible()
        expect(page.locator("#lead")).to_have_text("This service requires an API key.")
        for wrong in ("not-the-key", "ключ"):
            page.fill("#key", wrong)
            page.locator("#login button").click()
            expect(page.locator("#lead")).to_have_text(re.compile("does not know this key"))
            expect(page.locator("#login")).to_be_visible()
        page.fill("#key", key)
        page.locator("#login button").click()
        expect(page.locator("#login")).to_be_hidden()
        page.set_input_files("#images", uploads[:1])
        status(page, "1 image · 0 anomalous$")
        page.reload()  # the tab keeps it
        expect(page.locator("#lead")).to_have_text(re.compile("Calibrated"))
        page.evaluate("sessionStorage.clear()")


def test_drift_is_told_after_images_are_scored(page, uploads):
    from playwright.sync_api import expect

    told = {"images": 200, "moved": ["brightness"], "sentence": "The last 200 images are darker."}

    def answer(route):
        reply = route.fetch()
        found = reply.json()
        for detector in found["detectors"]:
            detector["drift"] = told if detector["name"] == "line" else None
        route.fulfill(response=reply, json=found)

    page.route("**/v1/detectors", answer)
    page.set_input_files("#images", uploads[:1])
    expect(page.locator("#drift")).to_have_text(told["sentence"])
    expect(page.locator("#drift")).to_have_class(re.compile(r"\bbad\b"))
    page.select_option("#detector", "words")
    expect(page.locator("#drift")).to_be_hidden()
