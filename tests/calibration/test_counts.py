"""What a threshold does, in counts of images."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from vlad.calibration import (
    Calibration,
    from_labels,
    from_normals,
    from_unlabelled,
    load_calibration,
    save_calibration,
)
from vlad.calibration.counts import counts, false_alarm_interval
from vlad.errors import InputError

# 94 good images and 12 defects: 3 good images above 90.5, a defect at 86.5 below seven of them
GOOD = np.arange(94.0)
DEFECTS = np.append(86.5, np.linspace(90.75, 120, 11))


def labelled(**options):
    scores, levels = np.append(GOOD, DEFECTS), np.repeat([0, 1], [94, 12])
    return from_labels({"a": scores}, levels, **options)


def test_both_sides_of_labelled_images():
    (said,) = counts(labelled(target="miss-cost=3.9"), "a")
    assert said == (
        "Of 94 good images that set the threshold "
        "3 would alarm; of 12 defects 1 would be missed; missing none costs 7 "
        "alarms."
    )
    (said,) = counts(labelled(target="miss-cost=4.1"), "a")
    assert (
        said == "Of 94 good images that set the threshold "
        "7 would alarm; of 12 defects 0 would be missed."
    )


def test_good_images_that_score_like_the_lowest_defect_alarm_before_it_is_found():
    found = from_labels({"a": np.array([1.0, 2, 2, 2, 3])}, np.array([0, 0, 0, 1, 1]))
    (said,) = counts(found, "a")
    found = replace(found, thresholds={"a": 2.0})
    (said,) = counts(found, "a")
    assert said.endswith("of 2 defects 1 would be missed; missing none costs 2 alarms.")


def test_normal_images_alone_have_one_side_and_others_none():
    (said,) = counts(from_normals({"a": GOOD}, false_alarms=0.05), "a")
    assert said == "Of 94 good images that set the threshold 3 would alarm."  # floor(0.05 · 95) - 1
    assert counts(from_unlabelled({"a": GOOD}), "a") == []
    assert counts(Calibration.fixed("a", 1.0), "a") == []


def test_all_heads_together_have_counts_of_their_own():
    scores, levels = np.append(GOOD, DEFECTS), np.repeat([0, 1], [94, 12])
    both = {"a": scores, "b": -scores}
    found = from_labels(both, levels, method="fisher", target="recall=1")
    verdicts = found.decide({head: x[levels == 1] for head, x in both.items()})
    assert set(found.defects) == {"a", "b"} and verdicts["fused"].anomalous.all()
    (said,) = counts(found, "fused")
    alarms = int((found.known()["fused"] > found.thresholds["fused"]).sum())
    assert (
        said == f"Of 94 good images that set the threshold "
        f"{alarms} would alarm; of 12 defects 0 would be missed."
    )
    assert said != counts(found, "a")[0]


def test_good_images_of_another_day():
    found = from_normals({"a": GOOD}, false_alarms=0.05)
    threshold = found.thresholds["a"]
    other = np.append(np.full(26, threshold), np.full(4, threshold + 1))
    seen = replace(found, holdout={"a": other})
    assert seen.thresholds == found.thresholds
    assert counts(seen, "a")[1] == (
        "Of 30 good images of another day 4 would alarm: 13% (95% interval 3.8% to 31%), where 5% "
        "was asked for."
    )
    seen = replace(found, holdout={"a": other[20:]})  # 4 of 10: from 12 %
    assert counts(seen, "a")[1].endswith(
        "Chance alone does not explain this: calibrate on images of that day too."
    )
    fixed = replace(Calibration.fixed("a", 1.0), holdout={"a": np.zeros(30)})
    assert counts(fixed, "a") == [
        "Of 30 good images of another day 0 would alarm: 0% (95% interval 0% to 12%)."
    ]


def test_the_interval_is_that_of_clopper_and_pearson():
    from scipy.stats import beta

    low, high = false_alarm_interval(4, 30)
    assert (low, high) == pytest.approx((beta.ppf(0.025, 4, 27), beta.ppf(0.975, 5, 26)))
    assert false_alarm_interval(0, 30) == pytest.approx((0, 1 - 0.025 ** (1 / 30)))
    assert false_alarm_interval(30, 30) == pytest.approx((0.025 ** (1 / 30), 1))
    for alarms, good in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(InputError, match="is no share"):
            false_alarm_interval(alarms, good)


def test_a_file_keeps_both_sides_and_older_ones_lack_them(tmp_path):
    found = replace(labelled(), holdout={"a": GOOD[:30]})
    file = save_calibration(found, tmp_path / "c.json")
    said = counts(found, "a")
    assert len(said) == 2 and counts(load_calibration(file), "a") == said
    content = json.loads(file.read_text())
    del content["defects"], content["holdout"]
    file.write_text(json.dumps(content))
    (alone,) = counts(load_calibration(file), "a")
    assert said[0].startswith(alone.removesuffix("."))
