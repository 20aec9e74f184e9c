"""The curves of a bench: points where the means are, and a file that any viewer can read."""

import re
from xml.etree import ElementTree

import pytest

from vlad.evaluation.curves import shot_curves, svg

SVG = "{http://www.w3.org/2000/svg}"


def rows(**more):
    return [
        {
            "data": "s", "category": "nut", "head": head, "protocol": protocol, "k_shot": k,
            "seed": seed, "corruption": None, "metric.image_auroc": value + 0.02 * seed, **more,
        }
        for head, protocol, points in (
            ("memory", "few-shot", {1: 0.5, 2: 0.7, 4: 0.8}),
            ("musc", "transductive, zero-shot", {0: 0.6}),
        )
        for k, value in points.items()
        for seed in (0, 1)
    ]  # fmt: skip


def points(tree, title):
    """Head -> ((k, mean), ...) as one reads them off the axes."""
    for group in tree.iter(SVG + "g"):
        texts = group.findall(SVG + "text")
        if not texts or texts[0].text != title:
            continue
        ends = [t for t in texts[1:] if t.get("text-anchor") == "end"]
        middle = [t for t in texts[1:] if t.get("text-anchor") == "middle" and t.text.isdigit()]
        shots = {float(t.get("x")): int(t.text) for t in middle}
        (y0, v0), (y1, v1) = ((float(t.get("y")) - 4, float(t.text)) for t in (ends[0], ends[-1]))
        found = []
        for line in group.findall(SVG + "g"):
            spots = line.find(SVG + "polyline").get("points").split()
            pairs = [tuple(map(float, spot.split(","))) for spot in spots]
            found.append([(shots[x], v0 + (y - y0) * (v1 - v0) / (y1 - y0)) for x, y in pairs])
        return found
    raise AssertionError(f"no panel {title}")


def test_points_are_where_the_means_are():
    tree = ElementTree.fromstring(svg(shot_curves(rows())))
    memory, musc = points(tree, "s: image AUROC")
    assert [k for k, _ in memory] == [1, 2, 4]
    assert [value for _, value in memory] == pytest.approx([51, 71, 81], abs=0.2)
    assert musc == [(0, pytest.approx(61, abs=0.2))]
    texts = [text.text for text in tree.iter(SVG + "text")]
    assert "memory" in texts and "musc (transductive)" in texts
    # the bars are one standard deviation long on either side
    said = [title.text for title in tree.iter(SVG + "title")]
    assert said[0] == "memory, 1 shots: 51.0 ± 1.0"


def test_a_panel_for_each_set_and_metric_and_the_mean():
    both = [*rows(), *rows(data="t")]
    for row in both:
        row["metric.pixel_auroc"] = 0.9
    text = svg(shot_curves(both))
    titles = re.findall(r'font-weight="600">(.*?)<', text)
    assert titles == [
        f"{name}: {metric}"
        for name in ("s", "t", "mean of all data sets")
        for metric in ("image AUROC", "pixel AUROC")
    ]


def test_corrupted_images_do_not_count():
    changed = rows(corruption="blur")
    assert shot_curves(changed) is None
    assert svg(shot_curves([*rows(), *changed])) == svg(shot_curves(rows()))


def test_no_curve_without_several_shots():
    assert shot_curves([row for row in rows() if row["k_shot"] < 2]) is None


def test_names_are_never_markup():
    text = svg(shot_curves(rows(data="<b>nut & bolt</b> caf\udce9\x01")))
    ElementTree.fromstring(text)
    assert "<b>" not in text


def test_many_heads_look_different():
    many = [row | {"head": f"head{i}"} for i in range(15) for row in rows()]
    legend = shot_curves(many)["legend"]
    assert len({(line["colour"], line["dash"]) for line in legend}) == 15
