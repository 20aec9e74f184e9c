"""A finished run with verdicts and regions, written without a backbone."""

import numpy as np

from vlad.calibration import FUSED, Calibration, save_calibration
from vlad.results.coco import RegionFinder
from vlad.results.folder import RunFolder
from vlad.results.rows import Row, State

THRESHOLD = 0.5


def finished_run(out, root, scores, maps, heads=("memory",), fused=None, kinds=None, size=None):
    """Write the run.

    Args:
        root: the folder that the images are below.
        scores: path -> image score, "unsure" to abstain, None for an image that failed.
        maps: path -> (H, W) anomaly map.
        fused: path -> fused score.
        kinds: path -> nearest known kind of defect.
        size: (width, height) of all images; None is that of their maps.
    """
    settings = {"root": str(root)}
    if kinds is not None:
        settings["kinds"] = {heads[0]: sorted({*kinds.values()} - {""})}
    folder = RunFolder(out, dict.fromkeys(heads, (0.0, 1.0)), settings).create()
    rows = []
    for path, score in scores.items():
        if score is None:
            rows.append(Row(str(path), {}, "broken", State.of(path)))
            continue
        value = THRESHOLD if score == "unsure" else score
        kind = {heads[0]: kinds[path]} if kinds is not None else {}
        rows.append(Row(str(path), dict.fromkeys(heads, value), None, State.of(path), kind))
    folder.append(rows)
    finder = RegionFinder(dict.fromkeys(heads, THRESHOLD))
    for sample in folder.samples():
        if scores[sample.path] is not None:
            found = maps[sample.path]
            height, width = found.shape
            finder.add(sample, size or (width, height), dict.fromkeys(heads, found))
    finder.write(folder.out / "regions")
    more = finder.columns()
    for name in heads:
        more |= _verdicts(name, {p: s for p, s in scores.items() if s is not None})
    if fused is not None:
        more[FUSED] = {str(path): score for path, score in fused.items()}
        more |= _verdicts(FUSED, fused)
    known = dict.fromkeys(heads, np.array([0.1, 0.2]))
    made = Calibration("number", known, dict.fromkeys(heads, THRESHOLD), {}, settings={})
    save_calibration(made, folder.out / "calibration.json")
    folder.finish([row.path for row in rows], more)
    return folder.out


def _verdicts(name, scores):
    words, abstain = {}, {}
    for path, score in scores.items():
        abstain[str(path)] = score == "unsure"
        above = score != "unsure" and score > THRESHOLD
        words[str(path)] = "anomalous" if above else "normal"
    return {f"{name}_verdict": words, f"{name}_abstain": abstain}
