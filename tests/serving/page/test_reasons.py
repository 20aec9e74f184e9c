"""Why an image is anomalous, on the page: asked of the service on a click."""

import re

import pytest
from playwright.sync_api import expect
from service_page import status

from vlad.detector import Detector


def test_why_is_asked_once_and_shown_beside_the_image(page, uploads, memory, drawn):
    asked = []
    page.on("request", lambda r: asked.append(r) if r.url.endswith("/v1/explain") else None)
    page.set_input_files("#images", uploads[:4])
    status(page, "4 images · 1 anomalous$")
    page.locator(".card .asks").first.click()
    regions = page.locator("#why .reasons > li")
    expect(regions.first).to_be_visible()
    worst = drawn[int(memory.score(drawn[:4]).image_score.argmax())]
    expected = memory.explain(worst).regions
    expect(regions).to_have_count(len(expected))
    assert regions.first.locator("b").text_content() == expected[0].place
    width = "image => image.decode().then(() => image.naturalWidth)"
    assert regions.first.locator("img").first.evaluate(width) == expected[0].crop.width
    expect(page.locator("#sheet .boxes g")).to_have_count(len(expected))
    page.keyboard.press("w")
    expect(page.locator("#why")).to_be_hidden()
    # a region of the image shows it again, and asks nothing
    page.locator("#sheet .boxes g[data-region='0'] text").click()
    expect(page.locator("#why")).to_be_visible()
    expect(regions.first.locator(".region")).to_have_attribute("aria-pressed", "true")
    assert len(asked) == 1
    page.keyboard.press("j")  # the next image is asked about, since the panel is open
    expect(page.locator("#large-place")).to_have_text("2 of 4")
    expect(regions.first).to_be_visible()
    assert len(asked) == 2
    page.keyboard.press("k")
    expect(page.locator("#large-place")).to_have_text("1 of 4")
    expect(regions).to_have_count(len(expected))
    assert len(asked) == 2


def test_another_detector_is_asked_again(page, uploads):
    page.set_input_files("#images", uploads[:1])
    status(page, "1 image · 0 anomalous$")
    page.keyboard.press("j")
    page.keyboard.press("w")
    expect(page.locator("#why")).to_contain_text("nearest reference patch")
    page.keyboard.press("Escape")
    page.select_option("#detector", "words")
    status(page, "1 image$")
    with page.expect_response(lambda r: r.url.endswith("/v1/explain")) as reply:
        page.locator(".card .asks").click()
    assert reply.value.json()["detector"] == "words"
    expect(page.locator("#why .reasons")).to_be_visible()
    expect(page.locator("#why")).not_to_contain_text("nearest reference patch")


def test_what_cannot_be_explained_is_said(page, uploads, monkeypatch):
    page.set_input_files("#images", uploads)
    status(page, "5 images · 1 anomalous · 1 failed$")
    expect(page.locator(".card .asks:visible")).to_have_count(4)

    def refuse(self, image, **options):
        from vlad.errors import HeadError

        raise HeadError("Images cut into tiles are not explained; leave out `tile`.")

    monkeypatch.setattr(Detector, "explain", refuse)
    page.locator(".card .asks").first.click()
    expect(page.locator("#why")).to_have_text(re.compile("^Images cut into tiles"))


@pytest.mark.parametrize("width", [420, 1300])
def test_image_and_reasons_have_room(page, uploads, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.set_input_files("#images", uploads[:1])
    status(page, "1 image · 0 anomalous$")
    page.locator(".card .asks").click()
    expect(page.locator("#why .reasons")).to_be_visible()
    stage, why = (page.locator(query).bounding_box() for query in ("#stage", "#why"))
    image = page.locator("#sheet").bounding_box()
    assert image["width"] <= stage["width"] + 1 and image["height"] <= stage["height"] + 1
    beside = why["x"] >= stage["x"] + stage["width"] - 1
    below = why["y"] >= stage["y"] + stage["height"] - 1
    assert (beside, below) == ((True, False) if width > 760 else (False, True))
    assert min(stage["height"], why["height"]) > 200
