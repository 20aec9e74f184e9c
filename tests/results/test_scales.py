"""The scales of stored maps: kept while a run goes on, and said where maps exceed them."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from vlad.errors import OutputError
from vlad.results.folder import RunFolder
from vlad.results.known import map_maxima
from vlad.results.rows import Row
from vlad.results.scales import count_cut, warn_of_cut
from vlad.types import Sample

SAMPLES = [Sample(Path(f"{i}.png"), str(i)) for i in range(3)]


def run(out, high=0.3, map_format="png"):
    return RunFolder(out, {"memory": (0.0, high)}, {}, map_format)


@pytest.fixture
def filled(tmp_path):
    """Makes a folder with maps up to 0.2, 0.3 and 0.6."""

    def make(map_format="png"):
        folder = run(tmp_path / "run", map_format=map_format).create()
        for sample, largest in zip(SAMPLES, (0.2, 0.3, 0.6), strict=True):
            values = np.array([[0.0, largest]], np.float32)
            folder.write_map("memory", sample, values, (2, 1))
            folder.append([Row(str(sample.path), {"memory": largest})])
        return folder

    return make


def test_cut_maps_are_counted_in_run_json_and_the_run_still_resumes(filled):
    folder = filled()
    with pytest.warns(UserWarning, match="^1 map was cut at 0.3, where PNG files of memory end"):
        warn_of_cut(folder, SAMPLES, {"memory": 0.25})
    assert json.loads((folder.out / "run.json").read_text())["maps_cut"] == {"memory": 1}
    assert count_cut(run(folder.out).resume(), SAMPLES) == {"memory": 1}
    assert RunFolder.open(folder.out).settings["maps_cut"] == {"memory": 1}


def test_nothing_is_cut_in_floats(filled):
    folder = filled("npy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_cut(folder, SAMPLES, {"memory": 0.5})
    assert "maps_cut" not in json.loads((folder.out / "run.json").read_text())


def test_the_largest_values_are_those_before_the_cut(filled):
    assert map_maxima(filled(), SAMPLES)["memory"] == pytest.approx([0.2, 0.3, 0.6], abs=1e-5)


@pytest.mark.parametrize(("threshold", "told"), [(0.29, 0), (0.3, 1), (0.5, 1), (np.inf, 0)])
def test_a_threshold_that_no_stored_value_passes_is_said(filled, threshold, told):
    with pytest.warns(UserWarning) as found:
        warn_of_cut(filled(), SAMPLES, {"memory": threshold})
    said = [w for w in found if "No regions of memory can be found" in str(w.message)]
    assert len(said) == told


def test_a_run_keeps_the_scale_it_began_with(filled):
    # as a machine that computes a little differently would fit it
    again = run(filled().out, 0.301).resume()
    assert again.heads == {"memory": (0.0, 0.3)}
    assert json.loads((again.out / "run.json").read_text())["map_ranges"] == {"memory": [0.0, 0.3]}
    with pytest.raises(OutputError, match="map_ranges"):
        run(again.out, 0.4).resume()
