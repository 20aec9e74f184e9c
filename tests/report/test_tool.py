"""report.html in a real browser, opened as a file, as somebody reviews a run."""

import csv
import json
import re

from report_runs import NAMES, code, make_run, move, names, said, verdicts, write

from vlad.results.verdicts import Rules, judge
from vlad.scoring.record import digest_of


def downloaded(page, button, tmp_path):
    with page.expect_download() as download:
        page.locator(f"#gallery [data-do={button}]").click()
    download.value.save_as(tmp_path / download.value.suggested_filename)
    with open(tmp_path / download.value.suggested_filename, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_slider_shows_what_a_threshold_would_do(judged):
    assert said(judged) == (
        "4 would alarm, 2 would pass. Of 3 good images 1 would alarm; of 2 defects 0 would be "
        "missed."
    )
    assert code(judged) == "vlad score … --threshold 0.15"
    assert verdicts(judged)[0] == "Anomalous severity 1"
    move(judged, 0.45)
    assert said(judged) == (
        "1 would alarm, 5 would pass. Of 3 good images 0 would alarm; of 2 defects 1 would be "
        "missed."
    )
    assert code(judged) == "vlad score … --threshold 0.45"
    assert verdicts(judged) == ["Anomalous by the slider"] + ["Normal by the slider"] * 2 + [
        "Normal by the slider · missed",
        *["Normal by the slider"] * 2,
    ]
    assert "threshold 0.45 by the slider" in judged.locator(".count").text_content()
    judged.locator(".reset").click()
    assert said(judged).startswith("4 would alarm") and "severity" in verdicts(judged)[0]
    # all the way: by keyboard, and by a number
    judged.locator(".slider").focus()
    judged.keyboard.press("End")
    assert said(judged).startswith("0 would alarm")
    judged.locator("input[type=number]").fill("-1")
    assert said(judged).startswith("6 would alarm")


def test_a_run_without_verdicts_gets_them_from_the_slider(page):
    from playwright.sync_api import expect

    assert said(page) == said(page, 1) == "Move the slider to see verdicts."
    expect(page.locator("input[name=verdict]").first).to_be_hidden()
    move(page, -0.25, head=1)
    assert said(page) == "Move the slider to see verdicts."
    assert said(page, 1).startswith("3 would alarm, 3 would pass.")
    assert code(page, 1) == "vlad score … --head memory --threshold -0.25"
    assert verdicts(page) == [""] * 6  # of the head winclip
    page.locator("input[name=head][value='1']").check(force=True)
    assert names(page)[:2] == ["0.png", "1.png"]
    assert [v.split(" ")[0] for v in verdicts(page)] == ["Anomalous"] * 3 + ["Normal"] * 3


def test_fused_scores_have_no_number_for_the_command_line(visit, tmp_path):
    run, samples = make_run(tmp_path, [f"{i}.png" for i in range(12)])
    write(run, samples, judged=judge(run, samples, Rules(method="stouffer")))
    page = visit(tmp_path / "run")
    assert code(page).startswith("vlad calibrate ") and "labels.csv --fuse stouffer" in code(page)
    assert "No command takes this number" in said(page) and "No command" not in said(page, 1)
    assert "--head winclip --threshold" in code(page, 1)


def test_the_command_is_copied_or_selected(judged):
    judged.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    judged.locator(".copy").click()
    assert judged.evaluate("getSelection().toString()") == "vlad score … --threshold 0.15"


def test_marks_by_keyboard_count_as_labels_and_are_downloaded(judged, tmp_path):
    from playwright.sync_api import expect

    judged.fill("[name=by]", "Ann")
    judged.keyboard.press("Escape")  # leaves the field
    judged.keyboard.press("j")
    assert judged.locator("[aria-current=true] .name").text_content() == "5.png"
    judged.keyboard.press("ArrowRight")
    judged.keyboard.press("k")
    judged.keyboard.press("g")  # 5.png, and on to 4.png
    judged.keyboard.press("d")
    judged.keyboard.type("=crack")
    judged.keyboard.press("Enter")
    expect(judged.locator("[aria-current=true] .name")).to_have_text("=3 #é.png")
    expect(judged.locator(".marked")).to_have_text("2 marked")
    assert said(judged).endswith("Of 4 good images 2 would alarm; of 2 defects 0 would be missed.")
    assert verdicts(judged)[0] == "Anomalous false alarm"
    judged.keyboard.press("d")
    offered = judged.locator("#kind .given button").all_text_contents()
    assert offered == ["=crack"]
    judged.locator("#kind .given button").click()
    expect(judged.locator(".marked")).to_have_text("3 marked")
    judged.keyboard.press("j")
    judged.keyboard.press("d")
    judged.keyboard.press("Escape")  # no mark
    judged.keyboard.press("d")
    judged.keyboard.press("Enter")  # a defect of no kind
    expect(judged.locator(".marked")).to_have_text("4 marked")
    rows = downloaded(judged, "labels", tmp_path)
    assert list(rows[0]) == ["path", "label", "kind", "digest", "by", "time"]
    found = [(r["path"].rpartition("/")[2], r["label"], r["kind"], r["by"]) for r in rows]
    assert found == [
        ("5.png", "good", "", "Ann"),
        ("4.png", "defective", "'=crack", "Ann"),
        ("=3 #é.png", "defective", "'=crack", "Ann"),
        ("1.png", "defective", "", "Ann"),
    ]
    assert [r["digest"] for r in rows] == [digest_of(r["path"]) for r in rows]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", r["time"]) for r in rows)


def test_undo_takes_back_the_last_mark(judged):
    judged.keyboard.press("j")
    judged.keyboard.press("g")
    judged.keyboard.press("g")
    judged.keyboard.press("u")
    assert judged.locator(".marked").text_content() == "1 marked"
    assert judged.locator("[aria-current=true] .name").text_content() == "4.png"
    judged.keyboard.press("u")
    assert judged.locator(".marked").text_content() == "0 marked"
    assert judged.locator("#gallery [data-do=labels]").is_disabled()
    assert verdicts(judged)[0] == "Anomalous severity 1"
    judged.keyboard.press("u")  # nothing is left


def test_marks_and_name_stay_until_an_image_changes(visit, judged, tmp_path):
    judged.fill("[name=by]", "Ann")
    judged.keyboard.press("Escape")  # leaves the field
    judged.keyboard.press("j")
    judged.keyboard.press("g")
    judged.keyboard.press("g")
    judged.reload()
    assert judged.locator(".marked").text_content() == "2 marked"
    assert judged.locator("[name=by]").input_value() == "Ann"
    stored = judged.evaluate("Object.entries(localStorage)")
    (key, log) = next((k, json.loads(v)) for k, v in stored if k.startswith("vlad marks"))
    log[0]["digest"] = "0" * 16
    judged.evaluate("([k, v]) => localStorage.setItem(k, v)", [key, json.dumps(log)])
    judged.reload()
    assert judged.locator(".marked").text_content() == "1 marked"
    assert judged.locator(".lost").text_content().startswith("1 marked image has changed")


def test_two_windows_with_one_report_keep_the_marks_of_both(judged):
    from playwright.sync_api import expect

    other = judged.context.new_page()
    other.goto(judged.url)
    for page, key in ((judged, "g"), (other, "j")):
        page.keyboard.press("j")
        page.keyboard.press(key)
    other.keyboard.press("g")  # the second image
    for page in (judged, other):
        expect(page.locator(".marked")).to_have_text("2 marked")
        assert page.locator("[data-mark=good][aria-pressed=true]").count() == 2
    judged.reload()
    assert judged.locator(".marked").text_content() == "2 marked"


def test_marks_of_images_of_another_report_at_this_address_are_not_lost(judged):
    judged.keyboard.press("j")
    judged.keyboard.press("g")
    key = judged.evaluate("Object.keys(localStorage).find((key) => key.startsWith('vlad marks'))")
    (mark,) = json.loads(judged.evaluate("(key) => localStorage.getItem(key)", key))
    other = {**mark, "path": "another/run.png"}
    judged.evaluate("([k, v]) => localStorage.setItem(k, v)", [key, json.dumps([other])])
    judged.reload()
    assert judged.locator(".marked").text_content() == "0 marked"
    judged.keyboard.press("j")
    judged.keyboard.press("g")
    kept = json.loads(judged.evaluate("(key) => localStorage.getItem(key)", key))
    assert [one["path"] for one in kept] == [other["path"], mark["path"]]


def test_a_browser_that_keeps_nothing_says_so(visit, run, tmp_path):
    write(*run)
    page = visit(tmp_path / "run")
    page.add_init_script("Storage.prototype.setItem = () => { throw new Error('forbidden'); }")
    page.reload()
    page.keyboard.press("j")
    page.keyboard.press("g")
    assert page.locator(".marked").text_content() == "1 marked"
    assert "keeps no marks" in page.locator(".lost").text_content()


def test_filters_and_orders(judged, tmp_path):
    def wanted(**chosen):
        for name, value in chosen.items():
            if name == "verdict":
                judged.locator(f"input[name=verdict][value='{value}']").check(force=True)
            else:
                judged.select_option(f"[name={name}]", value)
        return names(judged)

    assert wanted(verdict="wrong") == ["=3 #é.png"]
    assert [r["path"].rpartition("/")[2] for r in downloaded(judged, "rows", tmp_path)] == [
        "=3 #é.png"
    ]
    assert wanted(verdict="normal") == ["1.png", "0.png"]
    move(judged, 0.05)  # what is filtered follows the slider
    assert names(judged) == ["0.png"]
    judged.locator(".reset").click()
    assert len(wanted(verdict="")) == 6
    judged.keyboard.press("j")
    judged.keyboard.press("d")
    judged.keyboard.type("crack")
    judged.keyboard.press("Enter")
    judged.wait_for_selector(".marked:text('1 marked')")
    assert wanted(marks="marked") == ["5.png"]
    assert "5.png" not in wanted(marks="unmarked")
    assert wanted(marks="", kind="crack") == ["5.png"]
    assert wanted(kind="") == [*reversed(NAMES)]
    assert wanted(order="1") == ["<b>2.png", "=3 #é.png", "0.png", "1.png", "4.png", "5.png"]
    judged.keyboard.press("/")
    judged.keyboard.type("<B>")
    assert names(judged) == ["<b>2.png"]
    judged.keyboard.type("gjd")  # letters of a text, not keys
    assert names(judged) == [] and judged.locator(".empty").is_visible()
    assert judged.locator(".marked").text_content() == "1 marked"


def test_rows_as_csv(judged, tmp_path):
    rows = downloaded(judged, "rows", tmp_path)
    names = ["memory", "memory_verdict", "memory_threshold"]
    assert list(rows[0]) == ["path", *names, "label", "kind", "marked"]
    assert [float(r["memory"]) for r in rows] == [0.5, 0.4, 0.3, 0.2, 0.1, 0.0]
    assert [r["memory_verdict"] for r in rows] == ["anomalous"] * 4 + ["normal"] * 2
    assert [r["label"] for r in rows] == ["defective", "", "good", "defective", "good", "good"]
    assert {r["memory_threshold"] for r in rows} == {"0.15"}
    move(judged, 0.45)
    rows = downloaded(judged, "rows", tmp_path)
    assert [r["memory_verdict"] for r in rows] == ["anomalous"] + ["normal"] * 5
    assert {r["memory_threshold"] for r in rows} == {"0.45"}


def test_an_order_given_to_the_report(visit, run, tmp_path):
    run, samples = run
    order = [str(samples[i].path) for i in (3, 0)] + ["elsewhere.png"]
    write(run, samples, orders={"Most informative first": order})
    page = visit(tmp_path / "run")
    page.select_option("[name=order]", label="Most informative first")
    assert names(page) == ["=3 #é.png", "0.png", "5.png", "4.png", "<b>2.png", "1.png"]
    assert page.locator("#images").text_content() == "Images, most informative first"


def test_keys_are_listed(page):
    from playwright.sync_api import expect

    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    assert page.locator("#help dt").count() == page.locator("#help dd").count() > 8
    page.keyboard.press("j")  # not under a dialog
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    assert page.locator("[aria-current]").count() == 0


def test_without_scripts_cards_and_table_show(visit, run, tmp_path):
    write(*run, limit=4)
    page = visit(tmp_path / "run", java_script_enabled=False)
    assert len(names(page)) == 4 and page.locator("#rest tbody tr:visible").count() == 2
    for hidden in (".bench", ".slider", ".cutting", ".pages", "fieldset", "dialog"):
        assert page.locator(f"{hidden}:visible").count() == 0
