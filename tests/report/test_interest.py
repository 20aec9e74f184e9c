"""The outline of the region of interest."""

import re

import numpy as np

from vlad.images.interest import RegionOfInterest
from vlad.report.interest import outline


def test_the_outline_runs_along_the_pixels_of_the_region_and_its_holes():
    mask = np.zeros((9, 12), bool)
    mask[2:7, 3:9] = True
    mask[4, 5] = False
    path, box = outline(RegionOfInterest.of(mask))
    assert box == "0 0 12 9" and path.count("M") == path.count("Z") == 2
    around, hole = (
        np.array([float(n) for n in re.findall(r"[\d.]+", part)]).reshape(-1, 2)
        for part in sorted(path.split("Z")[:2], key=len, reverse=True)
    )
    if np.ptp(around[:, 0]) < np.ptp(hole[:, 0]):
        around, hole = hole, around
    assert (around.min(0).tolist(), around.max(0).tolist()) == ([3, 2], [9, 7])
    assert (hole.min(0).tolist(), hole.max(0).tolist()) == ([5, 4], [6, 5])


def test_a_large_region_keeps_its_place_in_a_smaller_outline():
    mask = np.zeros((2000, 4000), bool)
    mask[:, 1000:] = True
    path, box = outline(RegionOfInterest.of(mask))
    xs = [float(n) for n in re.findall(r"([\d.]+) ", path)]
    assert box == "0 0 512 256" and (min(xs), max(xs)) == (128, 512)
