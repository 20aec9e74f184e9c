"""Tracks of boxes through frames."""

import itertools

import numpy as np
import pytest

from vlad.time import link
from vlad.time.tracks import iou


def test_a_box_that_moves_is_one_track():
    moving = [[(10 + 4 * n, 20, 20, 10)] for n in range(5)]
    assert link(moving) == [[(n, 0) for n in range(5)]]
    jumps = [[(10, 20, 20, 10)], [(200, 20, 20, 10)]]
    assert link(jumps) == [[(0, 0)], [(1, 0)]]


def test_two_boxes_keep_apart_and_one_that_goes_and_comes_is_another():
    left, right = (0, 0, 10, 10), (50, 0, 10, 10)
    frames = [[left, right], [right, left], [left], [left, right]]
    assert link(frames) == [
        [(0, 0), (1, 1), (2, 0), (3, 0)],
        [(0, 1), (1, 0)],
        [(3, 1)],
    ]
    assert link([[], [left], []]) == [[(1, 0)]]


@pytest.mark.parametrize("seed", range(10))
def test_the_largest_overlap_is_paired_first(seed):
    generator = np.random.default_rng(seed)
    frames = [
        [tuple(map(float, (*generator.integers(0, 12, 2), *generator.integers(4, 12, 2))))
         for _ in range(generator.integers(0, 5))]
        for _ in range(12)
    ]  # fmt: skip
    tracks = link(frames)
    boxes = [(n, place) for n, found in enumerate(frames) for place in range(len(found))]
    assert sorted(itertools.chain(*tracks)) == boxes
    assert [track[0] for track in tracks] == sorted(track[0] for track in tracks)
    pairs = {pair for track in tracks for pair in itertools.pairwise(track)}
    for n in range(11):
        left = {place for place in range(len(frames[n]))}
        free = {place for place in range(len(frames[n + 1]))}
        while True:  # take the best pair that is left, again and again
            overlaps = [(-iou(frames[n][a], frames[n + 1][b]), a, b) for a in left for b in free]
            if not overlaps or -min(overlaps)[0] < 0.1:
                break
            _, a, b = min(overlaps)
            assert ((n, a), (n + 1, b)) in pairs
            pairs.remove(((n, a), (n + 1, b)))
            left.remove(a)
            free.remove(b)
    assert not pairs


def test_intersection_over_union():
    assert iou((0, 0, 2, 2), (1, 0, 2, 2)) == pytest.approx(1 / 3)
    assert iou((0, 0, 2, 2), (2, 0, 2, 2)) == 0.0
    assert iou((1, 1, 3, 4), (1, 1, 3, 4)) == 1.0
