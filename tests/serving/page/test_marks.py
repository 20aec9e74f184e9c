"""Marks in the page: by keyboard and button, kept by the service or downloaded."""

import csv
import hashlib
import re

import pytest
from playwright.sync_api import expect
from service_page import running, status

from vlad.review.labels import read_labels
from vlad.serving.detectors import Served
from vlad.serving.review import Labels


@pytest.fixture
def scored(page, uploads):
    page.set_input_files("#images", uploads[:4])
    status(page, "4 images · 1 anomalous$")
    return page


def names(page):
    return page.locator(".card .name").all_text_contents()


def current(page):
    return page.locator(".card.now .name")


def pressed(page, label):
    """Names of the images marked so."""
    found = page.locator(".card").filter(
        has=page.locator(f"button[aria-pressed=true] >> text={label}")
    )
    return found.locator(".name").all_text_contents()


def downloaded(page):
    with page.expect_download() as download:
        page.click("#labels")
    with open(download.value.path(), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_keyboard_goes_through_images_and_marks_them(scored, uploads):
    order = names(scored)
    for key, expected in (
        ("j", 0),
        ("j", 1),
        ("k", 0),
        ("ArrowRight", 1),
        ("ArrowLeft", 0),
        ("k", 0),
    ):
        scored.keyboard.press(key)
        expect(current(scored)).to_have_text(order[expected])
    scored.keyboard.press("g")  # and goes on
    expect(current(scored)).to_have_text(order[1])
    scored.keyboard.press("d")
    scored.keyboard.type("scratch, deep")
    scored.keyboard.press("Enter")
    expect(current(scored)).to_have_text(order[2])
    scored.keyboard.press("d")
    expect(scored.locator(".given button")).to_have_text(["scratch, deep"])
    scored.locator(".given button").click()
    expect(scored.locator("#marked")).to_contain_text("3 images marked.")
    assert pressed(scored, "Good") == [order[0]]
    assert pressed(scored, "Defective") == order[1:3]
    scored.keyboard.press("u")
    expect(current(scored)).to_have_text(order[2])
    expect(scored.locator("#marked")).to_contain_text(
        "2 images marked. 1 would alarm, 3 would pass. "
        "Of 1 good image 1 would alarm; of 1 defect 1 would be missed."
    )
    scored.fill("#by", "Ann")
    rows = downloaded(scored)
    assert [row["path"].removeprefix("./") for row in rows] == order[:2]
    assert [(row["label"], row["kind"], row["by"]) for row in rows] == [
        ("good", "", ""), ("defective", "scratch, deep", ""),
    ]  # fmt: skip
    content = {one["name"]: one["buffer"] for one in uploads}
    digest = hashlib.sha256(content[order[0]]).hexdigest()[:16]
    assert rows[0]["digest"] == digest
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", rows[0]["time"])


def test_letters_in_fields_are_text(scored):
    scored.locator(".view").first.click()
    scored.keyboard.press("Escape")
    for field in ("#by", "#search", "#name", "#category"):
        if scored.locator(field).is_visible():
            scored.locator(field).press("g")
    expect(scored.locator("#marked")).to_contain_text("No image is marked.")
    scored.fill("#search", "")
    scored.locator("#slider").focus()
    before = current(scored).text_content()
    scored.keyboard.press("ArrowRight")  # moves the slider
    expect(current(scored)).to_have_text(before)


def test_marking_takes_images_out_of_those_not_marked(scored):
    order = names(scored)
    scored.locator("input[name=verdict][value=unmarked]").check()
    scored.locator(".view").first.focus()
    for left in (3, 2, 1, 0):
        scored.keyboard.press("g")
        expect(scored.locator(".card:visible")).to_have_count(left)
    expect(scored.locator("#marked")).to_contain_text("4 images marked.")
    scored.keyboard.press("u")
    expect(scored.locator(".card:visible .name")).to_have_text([order[3]])


def test_keys_are_listed_and_close(scored):
    scored.keyboard.press("?")
    expect(scored.locator("#help")).to_be_visible()
    for keys in ("j", "g", "d", "u", "h", "Escape"):
        assert scored.locator("#help dt").filter(has_text=keys).count() >= 1
    scored.keyboard.press("Escape")
    expect(scored.locator("#help")).to_be_hidden()


def test_a_page_with_marks_does_not_close_in_silence(scored):
    scored.locator(".marker").first.click()
    asked = []
    scored.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    scored.click("#clear")
    assert "1 mark would be lost" in asked[0]
    expect(scored.locator(".card")).to_have_count(4)
    downloaded(scored)
    scored.click("#clear")
    expect(scored.locator(".card")).to_have_count(0)
    assert len(asked) == 1


def test_marks_are_kept_by_the_service(visit, memory, uploads, tmp_path):
    folder = tmp_path / "review"
    with running([Served("line", memory)], labels=Labels(folder)) as address:
        page = visit(address)
        page.fill("#by", "Ann")
        page.set_input_files("#images", uploads[:4])
        status(page, "4 images · 1 anomalous$")
        expect(page.locator("#where")).to_have_text(
            "This service keeps marked images and their labels."
        )
        order = names(page)
        content = {one["name"]: one["buffer"] for one in uploads}
        digest = [hashlib.sha256(content[name]).hexdigest()[:16] for name in order]

        def said():
            return {x.digest: (x.label, x.kind, x.by) for x in read_labels(folder / "labels.csv")}

        def do(method, *keys):
            path = "**/v1/labels" + ("" if method == "POST" else "/*")
            with page.expect_response(path) as reply:
                for key in keys:
                    page.keyboard.press(key)
            assert reply.value.ok and reply.value.request.method == method

        page.locator("h1").click()  # out of the field
        page.keyboard.press("j")
        do("POST", "g")
        do("POST", "d", "x", "Enter")
        assert said() == {digest[0]: ("good", "", "Ann"), digest[1]: ("defective", "x", "Ann")}
        page.keyboard.press("k")
        do("POST", "g")  # another mark of the second image
        assert said()[digest[1]] == ("good", "", "Ann")
        do("POST", "u")
        assert said()[digest[1]] == ("defective", "x", "Ann")
        do("DELETE", "u")
        assert set(said()) == {digest[0]}
        kept = {path.stem: path.read_bytes() for path in (folder / "images").iterdir()}
        assert kept == {digest[i]: content[order[i]] for i in (0, 1)}
        page.click("#clear")  # nothing is lost, so nothing is asked
        expect(page.locator(".card")).to_have_count(0)


def test_a_mark_that_the_service_did_not_keep_says_so(visit, memory, uploads, tmp_path):
    with running([Served("line", memory)], labels=Labels(tmp_path)) as address:
        page = visit(address)
        page.set_input_files("#images", uploads[:1])
        status(page, "1 image · 0 anomalous$")
        page.route("**/v1/labels", lambda route: route.abort())
        page.locator(".marker").first.click()
        expect(page.locator(".says")).to_have_text(re.compile("not saved: "))
        page.unroute("**/v1/labels")
        page.locator(".marker").first.click()  # again
        expect(page.locator(".says")).to_have_text("")
        assert len(read_labels(tmp_path / "labels.csv")) == 1
