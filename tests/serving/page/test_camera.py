"""Stills of a camera in the page; the browser has one that shows a test pattern."""

import re

from playwright.sync_api import expect
from service_page import status


def started(page):
    page.click("#camera-start")
    expect(page.locator("#still")).to_be_visible()
    expect(page.locator("#cameras option").first).to_be_attached()


def test_a_still_is_scored(page):
    expect(page.locator("#camera-says")).to_contain_text("sent to this service only")
    started(page)
    with page.expect_response("**/v1/score") as reply:
        page.click("#still")
    assert reply.value.ok
    status(page, r"1 image · [01] anomalous$")
    expect(page.locator("#live")).to_have_text(re.compile(r"^(normal|anomalous) · \d"))
    expect(page.locator(".card .name")).to_have_text(re.compile(r"^camera-\d{4}-.*\.png$"))
    page.click("#camera-stop")
    expect(page.locator("#video")).to_be_hidden()
    expect(page.locator("#camera-start")).to_be_visible()
    assert page.evaluate("document.getElementById('video').srcObject") is None


def test_stills_repeat_until_stopped_the_newest_first(page):
    started(page)
    page.fill("#seconds", "0.2")
    page.click("#repeat")
    expect(page.locator("#repeat")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".card").nth(2)).to_be_visible()
    page.click("#repeat")
    expect(page.locator("#repeat")).to_have_attribute("aria-pressed", "false")
    status(page, r"^\d+ images · \d+ anomalous$")
    names = page.locator(".card .name").all_text_contents()
    assert len(names) >= 3 and names == sorted(names, reverse=True)
    page.click("#camera-stop")


def test_the_page_keeps_the_newest_stills_and_all_marked_ones(page):
    started(page)
    for _ in range(2):
        page.click("#still")
    status(page, "2 images")
    page.locator(".marker").first.click()
    marked = page.locator(".card").filter(has=page.locator("[aria-pressed=true]"))
    kept = marked.locator(".name").text_content()
    for _ in range(51):
        page.click("#still")
    expect(page.locator(".card")).to_have_count(51)
    assert kept in page.locator(".card .name").all_text_contents()


def test_without_a_camera_the_page_says_why(page):
    for name, says in (
        ("NotFoundError", "The browser finds no camera"),
        ("NotAllowedError", "The browser may not use the camera"),
        ("OtherError", "The camera cannot be used (not today); choose another one."),
    ):
        page.evaluate(
            """name => { navigator.mediaDevices.getUserMedia =
                () => Promise.reject(new DOMException("not today", name)); }""",
            name,
        )
        page.click("#camera-start")
        expect(page.locator("#camera-says")).to_contain_text(says)
        expect(page.locator("#camera-start")).to_be_enabled()


def test_a_camera_that_vanishes_is_told(page):
    started(page)
    page.evaluate("""() => { const [track] = document.getElementById("video").srcObject.getTracks();
        track.dispatchEvent(new Event("ended")); }""")
    expect(page.locator("#camera-says")).to_contain_text("The camera was disconnected")
    expect(page.locator("#camera-start")).to_be_visible()


def test_an_insecure_page_says_that_browsers_give_it_no_camera(visit, address, browser):
    page = browser.new_page()
    page.add_init_script("Object.defineProperty(window, 'isSecureContext', { value: false })")
    page.goto(address)
    expect(page.locator("#camera-start")).to_be_disabled()
    expect(page.locator("#camera-says")).to_contain_text("only to pages on localhost or over https")
    page.close()
