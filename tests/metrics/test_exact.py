import json
import subprocess
import sys
import warnings
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from vlad.errors import InputError
from vlad.metrics import aupro, auroc, average_precision, evaluate, f1_max

DISTRIBUTIONS = {
    "random": lambda x: x,
    "tied": lambda x: np.round(x * 6) / 6,
    "all tied": lambda x: np.full_like(x, 0.25),
    "squeezed": lambda x: x**30,
    "one outlier": lambda x: np.where(x == x.max(), 1e9, x),
    "negative": lambda x: x - 2,
    "infinite": lambda x: np.where(x > 0.9, np.inf, np.where(x < 0.2, -np.inf, x)),
    "float32": lambda x: x.astype(np.float32),
    "float16": lambda x: x.astype(np.float16),
    "8-bit": lambda x: (255 * x).astype(np.uint8),
    "yes or no": lambda x: x > 0.5,
}


def images(seed, distribution="random", n=5, size=12):
    """Maps that see the defects dimly, and masks with large and small regions; one is normal."""
    rng = np.random.default_rng(seed)
    masks = ndimage.gaussian_filter(rng.random((n, size, size)), (0, 1, 1)) > 0.56
    masks[:, 0, 0] = True
    masks[n // 2] = False
    maps = np.clip((rng.random(masks.shape) + 0.3 * masks) / 1.3, 0, 1)
    return DISTRIBUTIONS[distribution](maps), masks


def slow_curve(maps, masks):
    """The definition of AUPRO's curve: every threshold, every region."""
    regions = []
    for i, mask in enumerate(masks):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        regions += [(i, labels == k) for k in range(1, count + 1)]
    points = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        flagged = maps >= threshold
        overlaps = [flagged[i][region].mean() for i, region in regions]
        points.append((flagged[masks == 0].mean(), np.mean(overlaps)))
    return points


def slow_area(points, limit):
    """Area piece by piece up to the limit, divided by it."""
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x1 > limit:
            area += (limit - x0) * (y0 + y0 + (y1 - y0) * (limit - x0) / (x1 - x0)) / 2
            break
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


@pytest.fixture(scope="module")
def reference(parity):
    """Arrays, and the values that other code bases give for them."""
    values = json.loads((parity.folder / "losses_metrics.json").read_text())
    with np.load(parity.folder / "losses_metrics.npz") as arrays:
        return dict(arrays), values


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scikit_learn(distribution, seed):
    maps, masks = images(seed, distribution)
    # scikit-learn refuses infinite scores; ranks stand for any of them.
    ranks = np.unique(maps, return_inverse=True)[1].ravel()
    precision, recall, _ = precision_recall_curve(masks.ravel(), ranks)
    f1 = (2 * precision * recall / np.maximum(precision + recall, 1e-300)).max()

    assert auroc(maps, masks) == pytest.approx(roc_auc_score(masks.ravel(), ranks), abs=1e-12)
    assert average_precision(maps, masks) == pytest.approx(
        average_precision_score(masks.ravel(), ranks), abs=1e-12
    )
    assert f1_max(maps, masks)[0] == pytest.approx(f1, abs=1e-12)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_f1_max_is_reached_at_its_threshold_and_not_above(distribution):
    maps, masks = images(1, distribution)
    best, threshold = f1_max(maps, masks)

    def f1(flagged):
        return 2 * (flagged & masks).sum() / (flagged.sum() + masks.sum())

    assert f1(maps >= threshold) == pytest.approx(best, abs=1e-12)
    assert all(f1(maps >= t) < best for t in np.unique(maps[maps > threshold]))


def test_of_equally_good_thresholds_f1_max_gives_the_highest():
    # At 4: one of two defects, no false alarm; at 1: both, and two false alarms.
    assert f1_max([4, 3, 2, 1], [1, 0, 0, 1]) == (pytest.approx(2 / 3), 4)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_aupro_agrees_with_its_definition(distribution, seed):
    maps, masks = images(seed, distribution)
    points = slow_curve(maps, masks)
    for limit in (0.001, 0.05, 0.3, 1.0):
        value = aupro(maps, masks, limit=limit)
        assert value == pytest.approx(slow_area(points, limit), abs=1e-12)
        assert 0 <= value <= 1


def test_aupro_by_hand():
    # A region of 4 pixels, found first; one of 1 pixel, found after 2 of the 5 normal pixels.
    masks = [[[1, 1, 1, 1, 0, 1, 0, 0, 0, 0]]]
    maps = [[[9, 9, 9, 9, 5, 3, 4, 1, 1, 1]]]
    assert aupro(maps, masks, limit=0.4) == pytest.approx(0.5)
    assert aupro(maps, masks, limit=1) == pytest.approx(0.4 * 0.5 + 0.6)
    assert auroc(maps, masks) == pytest.approx(23 / 25)


def test_regions_join_at_corners_but_not_across_images():
    masks = np.zeros((2, 3, 3), int)
    masks[0, 0, 0] = masks[0, 1, 1] = masks[1, 1, 1] = 255
    maps = np.zeros(masks.shape)
    maps[0, 0, 0] = 2
    maps[0, 2, 2] = 1  # every normal pixel above the two missed defect pixels
    maps[masks == 0] = 1
    # Half of one of two regions is found; the rest comes after all normal pixels.
    assert aupro(maps, masks, limit=1) == pytest.approx(0.25)


def test_perfect_and_inverted_maps_reach_the_bounds():
    for seed in range(5):
        masks = np.random.default_rng(seed).random((7, 9, 9)) > 0.7
        assert aupro(masks, masks) == auroc(masks, masks) == average_precision(masks, masks) == 1
        assert aupro(~masks, masks) == auroc(~masks, masks) == 0
        assert f1_max(masks, masks) == (1, 1)


def test_only_the_order_of_scores_counts():
    maps, masks = images(4)
    maps = 0.5 + maps / 2
    for metric in (auroc, average_precision, aupro):
        for transform in (lambda x: x**30, np.log, lambda x: 1e6 * x - 3):
            assert metric(transform(maps), masks) == metric(maps, masks)
    before, after = f1_max(maps, masks), f1_max(maps**30, masks)
    assert after == (before[0], before[1] ** 30)


def test_the_order_of_images_does_not_count():
    maps, masks = images(5, n=9)
    order = np.random.default_rng(0).permutation(9)
    for metric in (auroc, average_precision, aupro):
        assert metric(maps[order], masks[order]) == pytest.approx(metric(maps, masks), abs=1e-12)


def test_normal_images_count_in_the_false_positive_rate():
    maps, masks = images(6)
    noisy = np.concatenate([maps, np.full((1, 12, 12), 2.0)])
    more = np.concatenate([masks, np.zeros((1, 12, 12), bool)])
    assert aupro(noisy, more) < aupro(maps, masks) - 0.1


def test_arguments_stay_as_they_were():
    maps, masks = images(7)
    maps.flags.writeable = masks.flags.writeable = False
    evaluate(maps.max(axis=(1, 2)), masks.any(axis=(1, 2)), maps, masks)


@pytest.mark.parametrize("metric", [auroc, average_precision, aupro, f1_max])
@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (np.zeros((2, 3, 3)), "nothing is anomalous"),
        (np.ones((2, 3, 3)), "nothing is normal"),
        (np.zeros((0, 3, 3)), "nothing is anomalous"),
    ],
)
def test_without_both_classes_the_value_is_nan_with_a_warning(metric, masks, message):
    with pytest.warns(UserWarning, match=message) as caught:
        assert np.isnan(metric(np.random.default_rng(0).random(masks.shape), masks)).all()
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("metric", [auroc, average_precision, f1_max, aupro])
@pytest.mark.parametrize(
    ("maps", "masks", "message"),
    [
        (np.zeros((2, 4, 4)), np.zeros((2, 3, 3)), r"\(2, 4, 4\).*\(2, 3, 3\)"),
        (np.zeros((2, 4, 4)), np.zeros((1, 4, 4)), r"\(2, 4, 4\).*\(1, 4, 4\)"),
        (np.full((1, 2, 2), np.nan), np.eye(2)[None], "4 of 4"),
        (np.zeros((1, 2, 2)), -np.eye(2)[None], "negative"),
        (np.zeros((1, 2, 2)), np.full((1, 2, 2), np.nan), "NaN"),
        (np.zeros((1, 2, 2)), [[[None, 1], [0, 1]]], "not all numbers"),
        ([np.zeros((2, 2)), np.zeros((3, 3))], np.zeros((2, 2, 2)), "differ in shape"),
    ],
)
def test_wrong_input_is_refused(metric, maps, masks, message):
    with pytest.raises(InputError, match=message):
        metric(maps, masks)


def test_aupro_refuses_flat_arrays_and_impossible_limits():
    with pytest.raises(InputError, match="images, height, width"):
        aupro([0.1, 0.2], [0, 1])
    for limit in (0, -0.1, 1.1, np.nan):
        with pytest.raises(InputError, match="limit"):
            aupro(*images(0), limit=limit)


def test_evaluate_gives_the_values_of_the_single_functions():
    maps, masks = images(8)
    scores, labels = maps.max(axis=(1, 2)), masks.any(axis=(1, 2))
    image = {
        "image_auroc": auroc(scores, labels),
        "image_ap": average_precision(scores, labels),
        "image_f1_max": f1_max(scores, labels)[0],
    }
    pixel = {
        "pixel_auroc": auroc(maps, masks),
        "pixel_ap": average_precision(maps, masks),
        "pixel_f1_max": f1_max(maps, masks)[0],
        "aupro": aupro(maps, masks),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert evaluate(scores, labels, maps, masks) == image | pixel
        assert evaluate(scores, labels) == image
        assert evaluate(scores, labels, maps) == image
        assert evaluate(scores, labels, maps, masks, limit=0.05)["aupro"] == aupro(
            maps, masks, limit=0.05
        )
    json.dumps(evaluate(scores, labels, maps, masks))  # plain floats, fit for a report


def test_evaluate_leaves_out_anomalous_images_with_an_empty_mask():
    maps, masks = images(9)
    scores, labels = maps.max(axis=(1, 2)), np.array([1, 1, 0, 1, 1])
    expected = evaluate(scores, labels, maps, masks)
    extra = np.concatenate([np.full((1, 12, 12), 5.0), maps])
    blank = np.concatenate([np.zeros((1, 12, 12), bool), masks])
    with pytest.warns(UserWarning, match="positions 0 are labelled anomalous"):
        result = evaluate(np.append(5.0, scores), np.append(1, labels), extra, blank)
    assert {k: v for k, v in result.items() if not k.startswith("image")} == {
        k: v for k, v in expected.items() if not k.startswith("image")
    }


def test_evaluate_of_normal_images_alone_is_nan():
    maps = np.random.default_rng(0).random((3, 4, 4))
    with pytest.warns(UserWarning) as caught:
        result = evaluate([0.1, 0.2, 0.3], [0, 0, 0], maps, np.zeros((3, 4, 4)))
    assert len(result) == 7 and np.isnan(list(result.values())).all()
    assert len(caught) == 2  # one for the images, one for the pixels


def test_evaluate_of_defective_images_alone_keeps_the_pixel_metrics():
    maps, masks = images(10)
    maps, masks = maps[:2], masks[:2]
    with pytest.warns(UserWarning, match="every image metric is undefined"):
        result = evaluate([0.1, 0.2], [1, 1], maps, masks)
    assert np.isnan([v for k, v in result.items() if k.startswith("image")]).all()
    assert result["aupro"] == aupro(maps, masks)


def test_evaluate_refuses_contradictions():
    maps, masks = images(11)
    scores, labels = maps.max(axis=(1, 2)), masks.any(axis=(1, 2))
    with pytest.raises(InputError, match="positions 0, 1 are labelled normal"):
        evaluate(scores, [0, 0, 0, 1, 1], maps, masks)
    with pytest.raises(InputError, match="one label per image"):
        evaluate(scores[:4], labels[:4], maps, masks)
    with pytest.raises(InputError, match="anomaly maps"):
        evaluate(scores, labels, None, masks)


def test_reference_values_of_other_code_bases(reference):
    arrays, values = reference
    maps, masks = arrays["amap"], arrays["gt"]
    mvtec = values["AnomalyDINO metrics (MVTec evaluator)"]
    assert aupro(maps, masks) == pytest.approx(mvtec["aupro_0.3"], abs=1e-6)
    assert aupro(maps, masks, limit=0.05) == pytest.approx(mvtec["aupro_0.05"], abs=1e-6)

    result = evaluate(arrays["score"], arrays["label"], maps, masks)
    musc = values["MuSc metrics"]
    for ours, theirs in {
        "image_auroc": "image_auroc",
        "image_ap": "image_ap",
        "image_f1_max": "image_f1",
        "pixel_auroc": "pixel_auroc",
        "pixel_ap": "pixel_ap",
        "pixel_f1_max": "pixel_f1",
    }.items():
        assert result[ours] == pytest.approx(musc[theirs], abs=1e-6)


def test_import_brings_in_no_torch():
    code = "import sys, vlad.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=600).returncode == 0
