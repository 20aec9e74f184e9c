"""RBDC and TBDC, against a slow plain version that counts again at every threshold."""

import numpy as np
import pytest

from vlad.errors import InputError
from vlad.metrics import rbdc_tbdc


def overlap(a, b):
    """Of two boxes of whole pixels, counted pixel by pixel."""
    one, other = (
        {(x, y) for x in range(int(c), int(c + w)) for y in range(int(r), int(r + h))}
        for c, r, w, h in (a, b)
    )
    return len(one & other) / len(one | other)


def plain(detections, regions, frames, alpha, beta):
    """The two areas by their definition."""
    levels = sorted({row[5] for video in detections for row in video}, reverse=True)
    points = [(0.0, 0.0, 0.0)]
    for level in levels:
        false, hits, tracks = 0, [], []
        for detected, true in zip(detections, regions, strict=True):
            kept = [row for row in detected if row[5] >= level]
            hit = {
                place: any(d[0] == t[0] and overlap(d[1:5], t[1:5]) >= beta for d in kept)
                for place, t in enumerate(true)
            }
            hits += hit.values()
            false += sum(
                not any(d[0] == t[0] and overlap(d[1:5], t[1:5]) >= beta for t in true)
                for d in kept
            )
            for number in {t[5] for t in true}:
                own = [hit[place] for place, t in enumerate(true) if t[5] == number]
                tracks.append(sum(own) >= alpha * len(own) - 1e-9)
        points.append((false / frames, np.mean(hits), np.mean(tracks)))
    areas = [0.0, 0.0]
    ends = [*points[1:], (max(1.0, points[-1][0]), *points[-1][1:])]
    for before, after in zip(points, ends, strict=True):
        for which in (0, 1):
            x0, y0, x1, y1 = before[0], before[which + 1], after[0], after[which + 1]
            if x0 >= 1 or x1 == x0:
                continue
            end = min(x1, 1.0)
            y1 = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            areas[which] += (end - x0) * (y0 + y1) / 2
    return areas


def drawn(generator, false):
    """Two videos of 12 frames: 3 tracks each, found now and then, and false detections."""
    detections, regions = [], []
    for _ in range(2):
        true, seen = [], []
        for track in range(3):
            start, length = generator.integers(0, 4), generator.integers(3, 8)
            for frame in range(start, start + length):
                box = [*generator.integers(0, 20, 2), *generator.integers(3, 9, 2)]
                true.append([frame, *box, track])
                if generator.random() < 0.5:
                    moved = [box[0] + generator.integers(-3, 4), box[1], box[2], box[3]]
                    seen.append([frame, *moved, generator.integers(0, 9) / 4])
        for _ in range(false):
            box = [*generator.integers(0, 20, 2), *generator.integers(3, 9, 2)]
            seen.append([generator.integers(0, 12), *box, generator.integers(0, 9) / 4])
        detections.append(seen)
        regions.append(true)
    return detections, regions


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("false", [0, 5, 40])
@pytest.mark.parametrize("alpha, beta", [(0.1, 0.1), (0.5, 0.4)])
def test_equals_the_plain_version(seed, false, alpha, beta):
    detections, regions = drawn(np.random.default_rng(seed), false)
    found = rbdc_tbdc(detections, regions, 24, alpha=alpha, beta=beta)
    assert found == pytest.approx(plain(detections, regions, 24, alpha, beta), abs=1e-12)


def test_perfect_detections_give_one_and_none_give_zero():
    true = [[frame, 2 * frame, 3, 8, 9, 0] for frame in range(10)]
    exact = [[*row[:5], 1.0] for row in true]
    assert rbdc_tbdc([exact], [true], 10) == (1, 1)
    assert rbdc_tbdc([[]], [true], 10) == (0, 0)
    # one of ten regions is enough for the track
    assert rbdc_tbdc([exact[:1]], [true], 10) == (pytest.approx(0.1), 1)


def test_tracks_of_two_videos_with_one_number_are_two():
    true = [[0, 0, 0, 4, 4, 7]]
    assert rbdc_tbdc([[[0, 0, 0, 4, 4, 1.0]], []], [true, true], 2) == (0.5, 0.5)


def test_nothing_true_is_no_figure():
    assert np.isnan(rbdc_tbdc([[[0, 0, 0, 4, 4, 1.0]]], [[]], 2)).all()


@pytest.mark.parametrize(
    "given, says",
    [
        (([], [[]], 2), "detections of 0 videos"),
        (([[]], [[]], 0), "0 frames"),
        (([[[1, 2, 3]]], [[]], 2), "rows of 6 numbers"),
    ],
)
def test_what_cannot_be_measured_is_said(given, says):
    with pytest.raises(InputError, match=says):
        rbdc_tbdc(*given)
    with pytest.raises(InputError, match="`beta` is 0"):
        rbdc_tbdc([[]], [[]], 2, beta=0)
