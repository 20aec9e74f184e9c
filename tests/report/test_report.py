"""report.html: one harmless file that says what the run found."""

import base64
import hashlib
import io
import json
import math
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_runs import SETTINGS, make_run, write

from vlad import report
from vlad.calibration import Calibration
from vlad.images import read_image
from vlad.report.charts import count_scores
from vlad.report.overlays import shared_scales
from vlad.results.folder import RunFolder
from vlad.results.rows import Row
from vlad.results.verdicts import Rules, judge
from vlad.types import Sample

EVIL = "<img src=x onerror=alert(1)>.png"


class Page(HTMLParser):
    """The page as a browser's parser sees it: elements with attributes, and texts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.inline, self.open = [], [], {}, ""
        self.data = {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open = "data" if ("id", "data") in attrs else tag

    def handle_data(self, data):
        if self.open == "data":
            self.data = json.loads(data)
        elif self.open in ("style", "script"):
            self.inline.setdefault(self.open, data)
        elif data.strip():
            self.texts.append(data)

    def handle_endtag(self, tag):
        self.open = ""

    def all(self, tag, **wanted):
        return [a for t, a in self.elements if t == tag and wanted.items() <= dict(a).items()]

    def cards(self):
        return self.all("li")

    def ranks(self, tag):
        """The ranks of the images that the elements of a tag show."""
        numbers = [int(a["data-number"]) for a in self.all(tag) if "data-number" in a]
        return [" ".join(str(column[n]) for column in self.data["ranks"]) for n in numbers]


def test_file_names_and_errors_are_never_markup(tmp_path):
    bad = "<script>alert(2)</script>.png".replace("/", "_")
    quote = '" autofocus onfocus="alert(3).png'
    run, samples = make_run(tmp_path, [EVIL, quote, bad, "{{cards}}.png"], failed=[bad])
    text = write(run, samples)
    page = Page(text)
    assert len(page.all("script")) == 2
    assert EVIL in page.data["names"]
    assert not [a for _, attrs in page.elements for a in attrs if a.startswith("on")]
    assert not page.all("img", src="x")
    assert {a["alt"] for a in page.all("img")} >= {EVIL, quote, "{{cards}}.png"}
    assert f"cannot read {bad}" in page.texts


def test_the_policy_allows_exactly_this_style_and_script(tmp_path):
    page = Page(write(*make_run(tmp_path, ["a.png"])))
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert "img-src data: 'self'" in policy
    for tag in ("style", "script"):
        digest = hashlib.sha256(page.inline[tag].encode()).digest()
        assert f"{tag}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert not [a for _, attrs in page.elements for a in attrs if a == "style"]


@pytest.mark.parametrize(("backbone", "said"), [("vlad-tiny", 1), ("ViT-B-16", 0)])
def test_only_the_built_in_backbone_is_for_trying_out(tmp_path, monkeypatch, backbone, said):
    monkeypatch.setitem(SETTINGS, "backbone", backbone)
    assert write(*make_run(tmp_path, ["a.png"])).count("for trying out") == said


def test_the_report_loads_nothing(tmp_path):
    text = write(*make_run(tmp_path, ["a.png", "b.png"]))
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    page = Page(text)
    assert not page.all("link") and not page.all("iframe")
    loaded = [a["src"] for _, a in page.elements if "src" in a]
    assert loaded and all(s.startswith("data:image/jpeg;base64,") for s in loaded)
    for source in loaded:
        with Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))) as image:
            assert image.size == (32, 24)
    assert all(a["href"].startswith("#") for a in page.all("a"))


def test_no_placeholder_is_left_and_ids_are_unique(tmp_path):
    page = Page(write(*make_run(tmp_path, ["a.png", "b.png"], failed=["b.png"])))
    assert not [t for t in page.texts if "{{" in t]
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for a in page.all("a")} | {
        a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a
    }
    assert targets and targets <= set(ids)


def test_images_come_worst_first_with_their_rank_under_each_head(tmp_path):
    run, samples = make_run(tmp_path, [f"{i}.png" for i in range(5)])
    page = Page(write(run, samples))
    assert page.ranks("li") == ["1 5", "2 4", "3 3", "4 2", "5 1"]
    photos = [a["alt"] for a in page.all("img") if "class" not in a]
    assert photos == [f"{i}.png" for i in (4, 3, 2, 1, 0)]
    heat = page.all("img", **{"class": "heat", "data-head": "0"})
    assert len(heat) == 5 and not any("hidden" in a for a in heat)
    assert all("hidden" in a for a in page.all("img", **{"data-head": "1"}))
    assert [a["value"] for a in page.all("input", name="head")] == ["0", "1"]


def test_one_head_needs_no_switch(tmp_path):
    page = Page(write(*make_run(tmp_path, ["a.png"], heads=("memory",))))
    assert not page.all("input", name="head")


def test_scores_that_are_missing_or_nan_come_last(tmp_path):
    run, samples = make_run(tmp_path, [f"{i}.png" for i in range(3)], heads=("memory",))
    run.append([Row(str(samples[2].path), {"memory": math.nan}), Row(str(samples[1].path), {})])
    page = Page(write(run, samples))
    assert next(a["alt"] for a in page.all("img") if "class" not in a) == "0.png"


def test_counts_category_date_and_errors_are_told(tmp_path):
    names = ["a.png", "b.png", "c.png"]
    page = Page(write(*make_run(tmp_path, names, labels=[0, 1, 1], failed=["c.png"])))
    texts = [text.strip() for text in page.texts]
    told = dict(pairwise(texts))
    assert (told["Scored"], told["Failed"]) == ("2", "1")
    assert (told["Labelled normal"], told["Labelled defective"]) == ("1", "1")
    assert told["params.memory"] == "0.1"
    assert "nut & bolt" in page.texts and "tiny" in page.texts
    assert any("1 May 2026" in t for t in page.texts)
    assert any("not a probability" in t for t in page.texts)
    assert "cannot read c.png" in page.texts


def test_every_image_beyond_the_limit_is_a_row_and_each_head_shows_its_worst(tmp_path):
    run, samples = make_run(tmp_path, [f"{i}.png" for i in range(10)])
    page = Page(write(run, samples, limit=4))
    assert page.ranks("li") == ["1 10", "2 9", "9 2", "10 1"]
    assert page.ranks("tr") == ["3 8", "4 7", "5 6", "6 5", "7 4", "8 3"]
    assert any("4 images" in t and "other 6" in t for t in page.texts)


def test_thumbnails_stop_at_the_size_limit(tmp_path, monkeypatch):
    run, samples = make_run(tmp_path, [f"{i}.png" for i in range(6)])
    monkeypatch.setattr(report, "_THUMBNAIL_BYTES", 12_000)
    text = write(run, samples)
    page = Page(text)
    shown, listed = len(page.cards()), len(page.ranks("tr"))
    assert 0 < shown < 6 and shown + listed == 6
    assert text.index("</ol>") - text.index('<ol class="cards">') < 12_100


def test_equal_input_gives_equal_bytes(tmp_path):
    run, samples = make_run(tmp_path, ["a.png", "b.png"], labels=[0, 1])
    assert write(run, samples) == write(run, samples)


def test_a_run_in_which_everything_failed_has_a_report(tmp_path):
    page = Page(write(*make_run(tmp_path, ["a.png"], failed=["a.png"])))
    assert not page.cards() and "cannot read a.png" in page.texts


def test_an_image_that_vanished_after_scoring_keeps_its_card(tmp_path):
    run, samples = make_run(tmp_path, ["a.png", "b.png"])
    samples[0].path.unlink()
    assert len(Page(write(run, samples)).cards()) == 2


def test_names_that_are_not_utf8_are_shown(tmp_path):
    run = RunFolder(tmp_path / "run", {"memory": (0.0, 1.0)}, SETTINGS).create()
    path = Path("caf\udce9.png")
    run.append([Row(str(path), error="cannot read caf\udce9.png")])
    assert "caf\\xe9.png" in Page(write(run, [Sample(path, "a")])).texts


@pytest.mark.parametrize(
    "scores",
    [
        [0.1, 0.2, 0.9],
        [5.0] * 4,
        [5.0, math.nextafter(5.0, 6)],
        [0.0],
        [-1e-9, 1e-9],
        [3e6, 1e7, math.nan, math.inf],
        [],
    ],
)
def test_histogram_counts_sum_up_between_round_edges(scores):
    labels = [i % 2 for i in range(len(scores))]
    edges, counts, ticks = count_scores(scores, labels)
    finite = [(s, label) for s, label in zip(scores, labels, strict=True) if math.isfinite(s)]
    assert sum(c.sum() for c in counts.values()) == len(finite)
    for label, count in counts.items():
        assert count.sum() == sum(own == label for _, own in finite)
    assert (edges[0], edges[-1]) == (ticks[0], ticks[-1]) and (np.diff(edges) > 0).all()
    assert all(edges[0] <= s <= edges[-1] for s, _ in finite)


def test_histogram_bars_have_the_colours_of_the_labels(tmp_path):
    names = [f"{i}.png" for i in range(4)]
    (tmp_path / "known").mkdir()
    (tmp_path / "unknown").mkdir()
    known = Page(write(*make_run(tmp_path / "known", names, labels=[0, 0, 1, 1])))
    assert len(known.all("rect", **{"class": "normal"})) == 4  # two images under two heads
    assert len(known.all("rect", **{"class": "defect"})) == 4
    unknown = Page(write(*make_run(tmp_path / "unknown", names)))
    assert len(unknown.all("rect", **{"class": "plain"})) == 8


def offered(page):
    """The verdicts to filter by."""
    found = [(tag, a) for tag, a in page.elements if tag in ("label", "input")]
    return [
        inner["value"]
        for (_, outer), (_, inner) in pairwise(found)
        if inner.get("name") == "verdict" and "hidden" not in outer
    ]


def test_labels_show_what_is_missed_and_what_is_a_false_alarm(tmp_path):
    names = [f"{i}.png" for i in range(6)]
    labels = [0, 1, 1, 0, None, 1]
    run, samples = make_run(tmp_path, names, labels=labels, heads=("memory",))
    judged = judge(run, samples, Rules(calibration=Calibration.fixed("memory", 0.15)))
    page = Page(write(run, samples, judged=judged))
    texts = [text.strip() for text in page.texts]
    told = dict(reversed(list(pairwise(texts))))  # the tiles come before the cards
    assert (told["Labelled defective"], told["Anomalous"]) == ("3", "4")
    assert (told["Missed"], told["False alarm"]) == ("1", "1")
    verdicts = dict(zip(page.data["names"], page.data["verdicts"][0], strict=True))
    assert verdicts == dict(zip(names, "nnaaaa", strict=True))
    assert page.data["labels"] == [1, None, 0, 1, 1, 0]
    assert page.data["heads"][0]["threshold"] == 0.15
    assert offered(page) == ["", "anomalous", "normal", "wrong"]
    # without labels nothing is known to be wrong
    (tmp_path / "plain").mkdir()
    run, samples = make_run(tmp_path / "plain", names, heads=("memory",))
    judged = judge(run, samples, Rules(calibration=Calibration.fixed("memory", 0.15)))
    page = Page(write(run, samples, judged=judged))
    assert "Missed" not in page.texts and offered(page) == ["", "anomalous", "normal"]
    assert offered(Page(write(run, samples))) == [""]


@pytest.mark.parametrize(("threshold", "place"), [(1.5, "100.0"), (0.1, None), (-1.0, "0.0")])
def test_the_threshold_is_marked_on_the_heat_scale(tmp_path, threshold, place):
    run, samples = make_run(tmp_path, ["a.png", "b.png"], heads=("memory",))
    rules = Rules(calibration=Calibration.fixed("memory", 0.05), map_threshold=threshold)
    judged = judge(run, samples, rules)
    scales = shared_scales(run, samples, judged.map_thresholds)
    low, high = scales["memory"]
    assert high >= threshold
    path = report.write_report(run, samples, scales, read_image, "today", judged=judged)
    page = Page(path.read_text(encoding="utf-8"))
    (cut,) = (a for a in page.all("line", **{"class": "cut"}) if a["y2"] == "10")
    between = 100 * (threshold - low) / (high - low)
    assert cut["x1"] == (place or f"{between:.1f}")
    assert any(f"regions above {threshold:.2f}"[:-1] in text for text in page.texts)
