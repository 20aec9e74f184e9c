"""The parts of the pages' scripts that need no page: CSV, marks, thresholds."""

import csv
import io
import json

import pytest

from vlad.datasets.manifest import read_manifest
from vlad.report.script import script
from vlad.system.text import csv_path, csv_text

GOOD = dict(label="good", kind="", digest="0" * 16, by="", time="2026-11-29T10:00:00+00:00")
HOSTILE = ["=1+1", "-2", "@x", "\t=a", "a;=b", "a,b", 'say "no"', "two\nlines", "＝x", "é", ""]


@pytest.fixture(scope="module")
def call(browser):
    """Evaluate an expression in which Csv, Marks and Threshold are known, with `given`."""
    page = browser.new_page()
    parts = script(["csv", "marks", "threshold"]).removeprefix("(function () {")
    parts = parts.rstrip().removesuffix("})();")
    yield lambda expression, given=None: page.evaluate(
        f"(given) => {{ {parts}\nreturn {expression}; }}", given
    )
    page.close()


def test_a_script_leaves_nothing_global(browser):
    page = browser.new_page()
    page.evaluate(script(["csv", "marks", "threshold"]))
    assert page.evaluate("[typeof Csv, typeof Marks, typeof Threshold].join()") == ",".join(
        ["undefined"] * 3
    )
    page.close()


@pytest.mark.parametrize("text", HOSTILE)
def test_cells_are_escaped_as_in_the_files_of_a_run(call, text):
    assert call("Csv.path(given)", text) == csv_path(text)
    assert call("Csv.text(given)", text) == csv_text(text)
    line = call("Csv.line([given, null, 1.5])", text)
    assert next(csv.reader(io.StringIO(line, newline=""))) == [text, "", "1.5"]


def mark(path, **values):
    return {"path": path, **GOOD, **values}


def test_labels_csv_has_the_last_mark_of_each_image_by_each_person(call):
    log = [
        mark("a, b.png"),
        mark("=c.png", label="defective", kind="=crack", digest="1" * 16, by="Ann"),
        mark("=c.png", by="Bo"),
        mark("a, b.png", label="defective"),
    ]
    text = call("Marks.csv(given)", log)
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(rows[0]) == ["path", "label", "kind", "digest", "by", "time"]
    assert [(r["path"], r["label"], r["kind"], r["by"]) for r in rows] == [
        ("./=c.png", "defective", "'=crack", "Ann"),
        ("./=c.png", "good", "", "Bo"),
        ("a, b.png", "defective", "", ""),
    ]
    assert rows[0]["digest"] == "1" * 16 and rows[0]["time"] == "2026-11-29T10:00:00+00:00"


def test_marks_are_labels_for_vlad_calibrate(call, tmp_path):
    (tmp_path / "labels.csv").write_text(
        call("Marks.csv(given)", [mark("a.png"), mark("b.png", label="defective")]), "utf-8"
    )
    assert [s.label for s in read_manifest(tmp_path / "labels.csv")] == [0, 1]


def test_a_mark_says_who_when_and_what(call):
    made = 'Marks.of("a.png", "ab", given, " crack ", " Ann ", new Date(Date.UTC(2026, 0, 2, 3)))'
    expected = {"path": "a.png", "digest": "ab", "by": "Ann", "time": "2026-01-02T03:00:00+00:00"}
    assert call(made, "defective") == {**expected, "label": "defective", "kind": "crack"}
    assert call(made, "good") == {**expected, "label": "good", "kind": ""}


def test_the_last_mark_counts_and_kinds_are_offered_again(call):
    log = [mark("a", kind="crack"), mark("b", kind="dirt"), mark("a", kind="crack"), mark("b")]
    assert call("Marks.kinds(given)", log) == ["crack", "dirt"]
    assert call("Marks.latest(given).get('b').kind", log) == ""
    assert call("Marks.label(undefined, 1)") == 1 and call("Marks.label(undefined, null)") is None
    assert call("Marks.label({label: 'good'}, 1)") == 0


@pytest.mark.parametrize("stored", ["", "{}", "[1, null]", '[{"path": "a"}]', "null"])
def test_damaged_marks_are_no_marks(call, stored):
    read = "Marks.read(given, new Map([['a', '00']]))"
    assert call(read, stored) == {"log": [], "others": [], "changed": 0}


def test_marks_of_images_that_changed_are_dropped_and_counted(call):
    log = [mark("a"), mark("b"), mark("b"), mark("elsewhere")]
    digests = "new Map([['a', '0000000000000000'], ['b', 'other']])"
    found = call(f"Marks.read(given, {digests})", json.dumps(log))
    assert found == {"log": [mark("a")], "others": [mark("elsewhere")], "changed": 1}


def test_verdicts_and_counts_of_a_threshold(call):
    scores, labels = [0.1, 0.2, 0.3, 0.4, None, 0.5], [0, 0, 1, 0, 1, None]
    given = {"scores": scores, "labels": labels}
    counts = "Threshold.counts(given.scores, given.labels, 0.3)"
    assert call(counts, given) == {
        "alarm": 2, "pass": 3, "good": 3, "alarms": 1, "defects": 1, "missed": 1,
    }  # fmt: skip
    assert call(f"Threshold.words({counts})", given) == (
        "2 would alarm, 3 would pass. Of 3 good images 1 would alarm; "
        "of 1 defect 1 would be missed."
    )
    given["labels"] = [None] * 6
    assert call(f"Threshold.words({counts})", given) == "2 would alarm, 3 would pass."
    assert call("Threshold.verdict(0.3, 0.3)") == "normal"  # as `vlad score` has it
    assert call("Threshold.verdict(0.3, null)") == call("Threshold.verdict(null, 0)") == ""


@pytest.mark.parametrize(
    ("threshold", "scores", "text"),
    [
        (0.123456789, [0.1, 0.2], "0.123"),
        (0.123456789, [0.12345, 0.1235], "0.12346"),
        (0.5, [0.5, 0.5000000001], "0.5"),
        (0.1, [None], "0.1"),
        (-3.0, [], "-3"),
    ],
)
def test_the_number_on_the_command_line_divides_the_same_images(call, threshold, scores, text):
    given = {"threshold": threshold, "scores": scores}
    assert call("Threshold.shortest(given.threshold, given.scores)", given) == text
    known = [s for s in scores if s is not None]
    assert [s > float(text) for s in known] == [s > threshold for s in known]
