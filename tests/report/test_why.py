"""Why images are anomalous: reasons in the report, in a real browser."""

import re

import pytest
from PIL import Image
from report_runs import make_run, write

from vlad.report import data as report_data
from vlad.results.reasons import Reasons, keep_crop
from vlad.vlm.words import Words

HOSTILE = "<img src=x onerror=document.title=1>"


def region(place, box, share=None, **values):
    found = {
        "place": place,
        "box": box,
        "area": 0.05,
        "share": share,
        "without": None,
    }
    missing = {"reference": "", "reference_note": "", "crop": None, "reference_crop": None}
    return {**found, "texts": [f"far from /good/{HOSTILE}.png"], **missing, **values}


@pytest.fixture
def told(tmp_path):
    """Three images under two heads; reasons for the worst two of the first head."""
    run, samples = make_run(tmp_path, ["0.png", "1.png", "2.png"], size=(1200, 900))
    crops = [keep_crop(run, Image.new("RGB", (60, 40), colour)) for colour in ("red", "blue")]
    own = dict(zip(("crop", "reference_crop"), crops, strict=True))
    own |= {"reference": f"/good/{HOSTILE}.png", "without": 0.1234567}
    regions = [
        region("bottom right", [600, 450, 500, 400], 0.61, **own),
        region("top left", [30, 20, 100, 80], 0.0042, reference_note="The file has changed."),
    ]
    worst, second = str(samples[2].path), str(samples[1].path)
    why = {"size": [1200, 900], "note": "Regions are above 0.3.", "regions": regions}
    one = {**why, "regions": [region("middle", [500, 400, 100, 100])], "note": ""}
    found = {
        worst: {"winclip": why},
        second: {"winclip": one, "memory": {**one, "note": HOSTILE}},
        "/not/of/this/report.png": {"winclip": one},
    }
    said = Words(HOSTILE, True, HOSTILE, "answer: no defect", "severe", f"Ignore {HOSTILE}", 0.8)
    words = {worst: said, second: Words("eye", error=f"no answer: {HOSTILE}")}
    return run, samples, Reasons(found, "Reasons: the 2 highest of 3 images.", words)


@pytest.fixture
def page(visit, told, tmp_path):
    run, samples, reasons = told
    write(run, samples, reasons=reasons)
    return visit(tmp_path / "run")


def shown(page):
    """The regions in the open panel: their facts, texts and captions."""
    return [
        (
            part.locator(".region > *").all_text_contents(),
            part.locator("ul li").all_text_contents(),
            part.locator("figcaption").all_text_contents(),
        )
        for part in page.locator("#full .reasons > li").all()
    ]


def test_asked_on_a_card_the_reasons_stand_beside_the_image(page):
    from playwright.sync_api import expect

    assert page.locator(".which").text_content() == "Reasons: the 2 highest of 3 images."
    asks = page.locator("#gallery .asks")
    expect(asks).to_have_count(2)  # the third image has no reasons
    asks.first.click()
    expect(page.locator("#full .why")).to_be_visible()
    first, second = shown(page)
    assert first[0] == ["bottom right", "61 % of the score · 5.0 % of the image"]
    said = [f"far from {HOSTILE}.png", "if it were normal, the image would score 0.1235"]
    assert first[1:] == (said, ["this image", f"{HOSTILE}.png"])
    assert second[0][1] == "0.42 % of the score · 5.0 % of the image"
    assert second[1:] == ([f"far from /good/{HOSTILE}.png"], [])
    assert "The file has changed." in page.locator("#full .why").inner_text()
    assert "Regions are above 0.3." in page.locator("#full .why").inner_text()
    assert page.title() != "1" and page.locator("#full .why img").count() == 2
    for crop in page.locator("#full .why img").all():  # files of the run folder
        assert crop.evaluate("image => image.decode().then(() => image.naturalWidth)") == 60


def test_words_of_a_model_stand_below_the_reasons_and_are_marked_as_such(page):
    from playwright.sync_api import expect

    words = page.locator("#full .why > .words")
    page.locator("#gallery .asks").first.click()
    expect(words).to_be_visible()
    assert words.locator("> *").all_text_contents() == [
        f"Words of {HOSTILE}; they change no score",
        f"{HOSTILE}, answer: no defect, severe; it calls itself 80 % sure.",
        f"Ignore {HOSTILE}",
    ]
    reasons = page.locator("#full .why > .reasons").bounding_box()
    assert words.bounding_box()["y"] >= reasons["y"] + reasons["height"]
    page.keyboard.press("j")
    expect(words.locator("h3")).to_have_text("Words of eye; they change no score")
    assert words.locator("p").all_text_contents() == [f"no answer: {HOSTILE}"]
    assert page.title() != "1" and words.locator("img").count() == 0


def test_a_region_is_chosen_on_the_image_and_in_the_list(page):
    from playwright.sync_api import expect

    page.locator("#gallery .view").first.click()
    expect(page.locator("#full .why")).to_be_hidden()
    boxes = page.locator("#full .boxes g")
    expect(boxes).to_have_count(2)
    photo = page.locator("#full .photo").bounding_box()
    # the box lies on the image where it says: fitted to the window, in the middle
    scale = min(photo["width"] / 1200, photo["height"] / 900)
    left = photo["x"] + (photo["width"] - 1200 * scale) / 2
    drawn = page.locator("#full .boxes g[data-region='0'] rect").bounding_box()
    assert drawn["x"] == pytest.approx(left + 600 * scale, abs=2)
    assert drawn["width"] == pytest.approx(500 * scale, abs=4)
    page.locator("#full .boxes g[data-region='1'] rect").click()
    expect(page.locator("#full .why")).to_be_visible()
    pressed = "[aria-pressed=true]"
    expect(page.locator(f"#full .region{pressed}")).to_have_text(re.compile("^top left"))
    page.locator("#full .region").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(f"#full .region{pressed}")).to_have_text(re.compile("^bottom right"))
    expect(page.locator("#full .boxes .picked")).to_have_attribute("data-region", "0")


def test_by_keys_from_image_to_image_and_from_head_to_head(page):
    from playwright.sync_api import expect

    why = page.locator("#full .why")
    page.keyboard.press("j")
    page.keyboard.press("w")
    expect(why).to_be_visible()
    page.keyboard.press("j")  # it stays open
    expect(page.locator("#full-name")).to_have_text("1.png")
    assert [facts for facts, _, _ in shown(page)] == [["middle", "5.0 % of the image"]]
    page.keyboard.press("j")  # an image without reasons
    expect(page.locator("#full-name")).to_have_text("0.png")
    expect(why).to_be_hidden()
    expect(page.locator("#full [data-do=why]")).to_be_hidden()
    expect(page.locator("#full .boxes")).to_have_count(0)
    page.keyboard.press("w")
    expect(why).to_be_hidden()
    page.keyboard.press("k")
    expect(why).to_be_visible()
    page.keyboard.press("w")
    expect(why).to_be_hidden()
    page.keyboard.press("Escape")
    page.locator("label:has([name=head][value='1'])").click()
    page.locator("#gallery .asks").first.click()
    expect(why).to_contain_text(HOSTILE)


def test_a_report_without_reasons_says_nothing_of_them(visit, tmp_path):
    run, samples = make_run(tmp_path, ["0.png"])
    write(run, samples)
    page = visit(tmp_path / "run")
    for part in (".asks", "#full .why", "[data-do=why]", ".which"):
        assert page.locator(part).count() == 0
    page.locator("#gallery .view").first.click()
    page.keyboard.press("w")
    assert page.locator("#full").is_visible()


def test_regions_that_the_page_leaves_out_are_counted(told, monkeypatch):
    run, samples, reasons = told
    monkeypatch.setattr(report_data, "_MOST", 1)
    assert "1 smaller region: see reasons.jsonl." in write(run, samples, reasons=reasons)


def test_a_narrow_window_holds_image_and_reasons_below_each_other(visit, told, tmp_path):
    run, samples, reasons = told
    write(run, samples, reasons=reasons)
    page = visit(tmp_path / "run", viewport={"width": 420, "height": 800})
    page.locator("#gallery .asks").first.click()
    stage, why = (page.locator(q).bounding_box() for q in ("#full .stage", "#full .why"))
    assert why["y"] >= stage["y"] + stage["height"] - 1 and stage["height"] > 150
    assert why["width"] == stage["width"] == 420
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
