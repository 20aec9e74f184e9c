"""One image of the page at full size."""

import numpy as np
import pytest
from playwright.sync_api import expect
from service_page import running, status

import vlad
from vlad.images.interest import RegionOfInterest
from vlad.serving.detectors import Served

HEATED = """canvas => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
    .data.some((value, i) => i % 4 === 3 && value > 100)"""


def test_full_size_shows_heat_and_regions_and_goes_on(page, uploads, drawn):
    page.set_input_files("#images", uploads[:4])
    status(page, "4 images · 1 anomalous$")
    order = page.locator(".card .name").all_text_contents()
    full = page.locator("#full")
    page.locator(".view").first.click()
    expect(full).to_be_visible()
    expect(page.locator("#large-name")).to_have_text(order[0])
    expect(page.locator("#large-facts")).to_contain_text("anomalous")
    expect(page.locator("#large-place")).to_have_text("1 of 4")
    assert page.locator("#sheet canvas").evaluate(HEATED)
    assert page.locator("#sheet .regions path").first.get_attribute("d")
    fitted = page.locator("#sheet").bounding_box()
    room = page.locator("#stage").bounding_box()
    assert max(fitted["width"] / room["width"], fitted["height"] / room["height"]) == pytest.approx(
        1, abs=0.02
    )
    page.keyboard.press("z")  # a pixel of the image is one of the screen
    size = page.locator("#sheet img").evaluate("image => [image.naturalWidth, image.naturalHeight]")
    expect(page.locator("#large-zoom")).to_have_attribute("aria-pressed", "true")
    actual = page.locator("#sheet").bounding_box()
    assert [actual["width"], actual["height"]] == size
    expect(page.locator("#sheet canvas")).to_be_visible()
    page.keyboard.press("h")
    expect(page.locator("#sheet canvas")).to_be_hidden()
    page.keyboard.press("j")
    expect(page.locator("#large-name")).to_have_text(order[1])
    page.keyboard.press("g")
    expect(page.locator("#large-name")).to_have_text(order[2])
    page.click("#large-previous")
    expect(page.locator("#large-good")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    expect(full).to_be_hidden()
    # the card gets the focus after the browser has closed the view
    focused = "document.activeElement.closest('.card')?.querySelector('.name').textContent"
    page.wait_for_function(f"name => {focused} === name", arg=order[1])


def test_a_region_of_interest_is_outlined(visit, memory, small_file, drawn, uploads):
    mask = np.zeros(drawn[0].size[::-1], bool)
    mask[:, : mask.shape[1] // 2] = True
    region = RegionOfInterest.of(mask)
    detector = vlad.load(
        "memory", backbone=str(small_file), device="cpu", layers=(1, 3), roi=region
    )
    detector.fit(drawn[:2])
    with running([Served("half", detector), Served("whole", memory)]) as address:
        page = visit(address)
        page.set_input_files("#images", uploads[:1])
        status(page, "1 image$")
        expect(page.locator("#lead")).to_contain_text("Only the region of interest counts")
        box = page.locator(".card .roi").evaluate(
            """path => { const box = path.getBBox(), svg = path.ownerSVGElement;
            const all = svg.viewBox.baseVal, by = svg.getCTM().inverse().multiply(path.getCTM());
            return [box.x, box.width * by.a / all.width, box.height * by.d / all.height]; }"""
        )
        assert box == pytest.approx([0, 0.5, 1], abs=0.01)
        page.locator(".card .view").click()
        expect(page.locator("#sheet .roi")).to_be_visible()
        page.keyboard.press("Escape")
        page.select_option("#detector", "whole")
        status(page, "1 image · 0 anomalous$")
        assert page.locator(".roi").count() == 0
