"""Measured figures beside published ones: what counts as reproduced."""

from dataclasses import replace

import pytest

from vlad.evaluation.published import DataSource, Figure, Method
from vlad.evaluation.reproduction import Missing, Reproduction, markdown

METHOD = Method("memory", "some/backbone", note="A note.")
DATA = DataSource("two", "Two", ("a", "b"), 8, "https://example.org", "CC0")


def figure(values, kind="paper", std=None, target=True):
    return Figure("memory", "two", 1, kind, f"the {kind}", values, std or {}, target)


def rows(auroc, seeds=(0,), **more):
    base = {"data": "two", "k_shot": 1, "backbone": "some/backbone", "vlad": "1.2.3"}
    return [
        {**base, "category": category, "seed": seed, "metric.image_auroc": auroc + sign * 0.1}
        | {f"metric.{name}": value for name, value in more.items()}
        for category, sign in (("a", 1), ("b", -1))
        for seed in seeds
    ]


def made(found, published, tolerance=1.0, **more):
    return Reproduction(METHOD, DATA, 1, published, tolerance, found, **more)


@pytest.mark.parametrize(
    ("measured", "std", "tolerance", "ok"),
    [
        (0.809, {}, 1.0, True),
        (0.811, {}, 1.0, False),
        (0.789, {}, 1.0, False),
        (0.811, {}, 1.2, True),
        (0.839, {"image_auroc": 2.0}, 1.0, True),  # within two standard deviations over draws
        (0.841, {"image_auroc": 2.0}, 1.0, False),
    ],
)
def test_a_figure_is_reproduced_within_the_tolerance(measured, std, tolerance, ok):
    found = made(rows(measured), [figure({"image_auroc": 80.0}, std=std)], tolerance)
    assert found.outside == ([] if ok else ["image_auroc"])
    assert found.verdict.startswith("reproduced within" if ok else "NOT reproduced: image AUROC by")


def test_it_is_judged_by_the_target_and_by_metrics_that_both_have():
    published = [
        figure({"image_auroc": 80.0, "aupro": 10.0, "pixel_ap": 3.0}, "authors"),
        figure({"image_auroc": 99.0}, target=False),
    ]
    found = made(rows(0.8, aupro=0.9, pixel_auroc=0.2, pixel_ap=0.03), published)
    assert found.outside == []
    assert found.verdict == "reproduced within 1 point of the authors."


def test_a_metric_that_its_authors_measure_otherwise_is_shown_and_not_judged():
    method = replace(METHOD, unjudged=["pixel_ap"])
    published = [figure({"image_auroc": 80.0, "pixel_ap": 3.0})]
    found = replace(made(rows(0.8, pixel_ap=0.9), published), method=method)
    assert found.outside == [] and found.judged == ["image_auroc"]
    assert found.table()[2][2] == "3.0 (+87.0)"
    assert replace(found, rows=rows(0.8)).verdict == "reproduced within 1 point of the paper."


def test_metrics_that_were_not_measured_are_said_and_not_counted():
    published = [figure({"image_auroc": 80.0, "pixel_ap": 3.0})]
    found = made(rows(0.8), published)
    assert found.outside == [] and "pixel_ap" not in found.values
    without = "Without pixel AP, not measured on a, b."
    assert found.verdict == f"reproduced within 1 point of the paper. {without}"
    part = rows(0.8, pixel_ap=0.03)
    part[0]["metric.pixel_ap"] = float("nan")
    found = made(part, published)
    assert found.verdict.endswith("Without pixel AP, not measured on a.")
    assert found.table()[1] == ["vlad", "80.0", "–"]


@pytest.mark.parametrize("measured", [[], rows(float("nan"))])
def test_nothing_measured_is_nothing_reproduced(measured):
    found = made(measured, [figure({"image_auroc": 80.0})])
    assert found.outside == []
    assert found.verdict.startswith("not judged: no figure of the paper was measured.")


def test_draws_of_any_source_count_and_are_said():
    published = [
        figure({"image_auroc": 80.0}, "authors"),
        figure({"image_auroc": 81.0}, std={"image_auroc": 2.0}, target=False),
    ]
    found = made(rows(0.835), published)
    assert found.verdict == (
        "reproduced within 1 point of the authors, or two standard deviations over draws (image "
        "AUROC by +3.5)."
    )
    assert made(rows(0.845), published).outside == ["image_auroc"]


def test_a_tolerance_that_was_asked_for_holds_whatever_draws_do():
    published = [figure({"image_auroc": 80.0}, std={"image_auroc": 2.0})]
    found = made(rows(0.82), published, strict=True)
    assert found.outside == ["image_auroc"] and not replace(found, strict=False).outside


def test_what_is_assumed_is_said_with_the_verdict():
    found = made(rows(0.8), [figure({"image_auroc": 80.0})], assumed=["The weights are yours."])
    assert found.verdict.endswith("of the paper. The weights are yours.")


def test_another_protocol_is_shown_and_not_judged():
    found = made(rows(0.1), [figure({"image_auroc": 80.0})], differs=["The dtype is bfloat16."])
    assert found.outside == []
    assert found.verdict == "not judged: The dtype is bfloat16."


def test_means_and_deviations_over_draws():
    found = made(rows(0.7) + [r | {"seed": 1} for r in rows(0.8)], [figure({"image_auroc": 80.0})])
    assert found.values == {"image_auroc": pytest.approx(75.0)}
    assert found.std == {"image_auroc": pytest.approx(5.0)}
    assert found.table() == [
        ["", "image AUROC"],
        ["vlad", "75.0 ± 5.0"],
        ["paper: the paper (target)", "80.0 (-5.0)"],
    ]


def test_what_is_posted():
    missing = Missing(METHOD, DATA, "no weights; get some.")
    found = made(rows(0.9), [figure({"image_auroc": 80.0})])
    text = markdown([found, missing])
    assert "## memory on Two, 1 normal image\n" in text
    assert "| paper: the paper (target) | 80.0 (+10.0) |" in text
    assert "**NOT reproduced: image AUROC by +10.0 from the paper.**" in text
    assert "- backbone some/backbone, vlad 1.2.3\n- 1 draw of normal images" in text
    assert "## memory on Two\n\n**not measured: no weights; get some.**\n\nA note." in text
