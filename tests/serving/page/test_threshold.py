"""The threshold of the page: counts that follow it, and one's own that stays in the browser."""

import re
from copy import copy
from dataclasses import replace

import pytest
from playwright.sync_api import expect
from service_page import running, status

from vlad.serving.detectors import Served


@pytest.fixture
def scored(page, uploads):
    page.set_input_files("#images", uploads[:4])
    status(page, "4 images · 1 anomalous$")
    return page


def test_verdicts_filter_the_list_and_count_live(scored):
    names = scored.locator(".card:visible .name")
    choice = lambda word: scored.locator(f"input[name=verdict][value={word}]")  # noqa: E731
    counts = scored.locator(".segments[aria-label=Verdict] span")
    expect(counts).to_have_text(["All 4", "Anomalous 1", "Normal 3", "Unsure 0", "Not marked 4"])
    choice("anomalous").check()
    expect(names).to_have_count(1)
    scored.fill("#threshold", "-1")
    expect(names).to_have_count(4)
    expect(counts.nth(1)).to_have_text("Anomalous 4")
    choice("normal").check()
    expect(names).to_have_count(0)
    expect(scored.locator("#none")).to_be_visible()
    scored.locator("input[name=verdict]").first.check()
    scored.fill("#search", "2.PNG")
    expect(names).to_have_text(["2.png"])


def test_the_csv_holds_what_is_listed(scored, tmp_path):
    scored.fill("#search", "2.png")
    with scored.expect_download() as download:
        scored.click("#csv")
    text = download.value.path().read_text("utf-8")
    assert [line.partition(",")[0] for line in text.splitlines()] == ["name", "2.png"]


def test_two_files_of_one_name_are_two_images(scored, uploads):
    scored.set_input_files("#images", uploads[:1])
    status(scored, "5 images")
    assert scored.get_by_text("0 (2).png", exact=True).count() == 1


def test_the_command_amounts_to_the_threshold(scored, memory, drawn):
    expect(scored.locator("#same")).to_be_hidden()
    scores = sorted(memory.score(drawn[:4]).image_score)
    scored.fill("#threshold", str((scores[1] + scores[2]) / 2))
    command = scored.locator("#command").text_content()
    assert command.startswith("vlad score IMAGES --detector DIR --threshold ")
    assert sum(score > float(command.rpartition(" ")[2]) for score in scores) == 2
    expect(scored.locator("#marked")).to_contain_text("2 would alarm, 2 would pass.")


def test_a_saved_threshold_is_sent_and_stays_until_it_is_reset(scored, uploads, memory):
    calibrated = memory.calibration_.thresholds["memory"]
    expect(scored.locator("#save")).to_be_disabled()
    scored.fill("#threshold", "1.25")
    status(scored, "4 images · 0 anomalous$")
    expect(scored.locator("#judged")).to_have_text("Threshold, moved by you and not saved")
    scored.click("#save")
    expect(scored.locator("#judged")).to_have_text("Your threshold, saved in this browser")
    scored.reload()
    with scored.expect_response("**/v1/score") as reply:
        scored.set_input_files("#images", uploads[:4])
    status(scored, "4 images · 0 anomalous$")
    assert reply.value.json()["threshold"] == 1.25
    expect(scored.locator("#threshold")).to_have_value("1.25")
    expect(scored.locator("#judged")).to_have_text("Your threshold, saved in this browser")
    scored.select_option("#detector", "words")  # it has none
    expect(scored.locator("#judged")).to_have_text("Threshold: move it to see verdicts")
    scored.select_option("#detector", "line")
    status(scored, "4 images · 0 anomalous$")
    scored.click("#reset")
    status(scored, "4 images · 1 anomalous$")
    expect(scored.locator("#threshold")).to_have_value(f"{calibrated:.4g}")
    scored.reload()
    scored.set_input_files("#images", uploads[:4])
    status(scored, "4 images · 1 anomalous$")


def test_a_saved_threshold_of_another_calibration_is_dropped_in_words(visit, memory, uploads):
    with running([Served("line", memory)]) as address:
        port = int(address.rpartition(":")[2])
        page = visit(address)
        page.set_input_files("#images", uploads[:4])
        status(page, "4 images · 1 anomalous$")
        page.fill("#threshold", "1.25")
        page.click("#save")
    other = copy(memory)
    other.calibration_ = replace(memory.calibration_, thresholds={"memory": 1.0})
    with running([Served("line", other)], port=port):
        page.reload()
        expect(page.locator("#stale")).to_contain_text("1.25 no longer holds and was removed")
        page.reload()
        expect(page.locator("#lead")).to_have_text(re.compile("alibrated"))
        expect(page.locator("#stale")).to_be_hidden()


def test_a_detector_replaced_while_the_page_is_open_scores_all_again(visit, memory, uploads, drawn):
    detector, low = copy(memory), float(min(memory.calibration_.reference["memory"]))
    alarms = sum(memory.score(drawn[:4]).image_score > low)
    with running([Served("line", detector)]) as address:
        page = visit(address)
        page.set_input_files("#images", uploads[:3])
        status(page, "3 images · [01] anomalous$")
        detector.calibration_ = replace(memory.calibration_, thresholds={"memory": low})
        page.set_input_files("#images", uploads[3:4])
        said = "line was replaced, so line scores all images again."
        expect(page.locator("#stale")).to_have_text(said)
        status(page, f"4 images · {alarms} anomalous$")
        expect(page.locator("#lead")).to_contain_text(f"above {low:.4g} ")
        page.fill("#threshold", "1.25")
        page.click("#save")
        page.set_input_files("#images", uploads[3:4])
        status(page, "5 images · 0 anomalous$")
        expect(page.locator("#judged")).to_have_text("Your threshold, saved in this browser")


def test_a_threshold_is_not_taken_for_that_of_another_service_of_the_site(visit, memory, uploads):
    with running([Served("line", memory)], root_path="/second") as address:
        page = visit(address)
        page.set_input_files("#images", uploads[:4])
        status(page, "4 images · 1 anomalous$")
        page.fill("#threshold", "1.25")
        page.click("#save")
        page.goto(address + "/second/")
        page.set_input_files("#images", uploads[:4])
        status(page, "4 images · 1 anomalous$")
