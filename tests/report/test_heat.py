"""Heat over images: one scale for all, weak values clear, strong ones visible."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlad.images import read_image
from vlad.images.interest import RegionOfInterest
from vlad.report.heat import heat_table, overlay, shared_scale
from vlad.report.overlays import shared_scales, write_overlays
from vlad.results.folder import RunFolder
from vlad.results.maps import read_map
from vlad.results.rows import Row
from vlad.types import Sample


def maps(seed=0, count=6):
    rng = np.random.default_rng(seed)
    return [rng.gamma(2, 0.05, (40, 30 + i)).astype(np.float32) for i in range(count)]


def test_the_scale_is_the_quantiles_of_all_pixels_of_the_run():
    values = np.concatenate([m.ravel() for m in maps()])
    low, high = shared_scale(maps(), (0.0, 2.0))
    assert low == pytest.approx(np.quantile(values, 0.5), abs=2 * 2 / 65535)
    assert high == pytest.approx(np.quantile(values, 0.999), abs=0.02)


def test_the_scale_does_not_depend_on_the_order_and_takes_a_stream():
    assert shared_scale(iter(maps()), (0.0, 1.0)) == shared_scale(maps()[::-1], (0.0, 1.0))


@pytest.mark.parametrize("given", [[], [np.full((4, 4), 0.3)], [np.ones((4, 4))]])
def test_the_scale_is_never_empty(given):
    low, high = shared_scale(given, (0.0, 1.0))
    assert low < high


def test_normal_areas_stay_as_they_are_and_heat_grows_with_the_value():
    for background in (0, 128, 255):
        image = Image.new("RGB", (256, 8), (background,) * 3)
        ramp = np.tile(np.linspace(-0.5, 1.5, 256, dtype=np.float32), (8, 1))
        drawn = np.asarray(overlay(image, ramp, 0.0, 1.0), int)[4]
        change = np.abs(drawn - background).sum(axis=1)
        assert (change[:64] == 0).all(), "clear below `low`"
        assert (np.diff(np.abs(drawn - background).max(axis=1)[64:192]) >= -2).all()
        assert change[-1] > 150, "the strong end shows on black, grey and white"
        assert (drawn[192:] == drawn[-1]).all(), "full from `high` on"


def test_a_strong_defect_stays_visible_through_the_heat():
    image = Image.fromarray(np.tile(np.uint8([[0, 255]]), (2, 1))).convert("RGB")
    drawn = np.asarray(overlay(image, np.ones((2, 2)), 0.0, 1.0), int)
    assert np.abs(drawn[0, 0] - drawn[0, 1]).min() > 50


def test_the_heat_scale_is_ordered_in_grey_too():
    colours, opacity = heat_table()
    grey = colours @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(grey) < 2).all() and grey[0] - grey[-1] > 120
    assert (np.diff(opacity) >= 0).all() and opacity[0] == 0


def test_equal_values_get_equal_colours_in_two_images():
    grey = Image.new("RGB", (4, 4), (90, 90, 90))
    alone, beside = np.full((4, 4), 0.4), np.full((4, 4), 0.4)
    beside[0, 0] = 5.0
    first = np.asarray(overlay(grey, alone, 0.0, 1.0))
    second = np.asarray(overlay(grey, beside, 0.0, 1.0))
    assert (first[3, 3] == second[3, 3]).all()


def test_any_image_mode_is_drawn_at_the_size_of_the_map():
    for mode in ("L", "RGBA", "P", "CMYK"):
        drawn = overlay(Image.new(mode, (300, 200)), np.zeros((20, 30)), 0.0, 1.0)
        assert drawn.mode == "RGB" and drawn.size == (30, 20)


def test_overlays_of_a_run_lie_beside_its_maps_and_skip_what_failed(tmp_path):
    samples = [Sample(tmp_path / f"{name}.png", f"x/{name}") for name in ("a", "bad", "gone")]
    Image.new("RGB", (60, 40), "white").save(samples[0].path)
    run = RunFolder(tmp_path / "run", {"memory": (0.0, 1.0)}, {}).create()
    for sample in samples:
        run.write_map("memory", sample, np.eye(10), (60, 40))
    run.append([Row(str(samples[i].path), {"memory": 1.0}) for i in (0, 2)])
    run.append([Row(str(samples[1].path), error="cut short")])
    scales = shared_scales(run, samples)
    write_overlays(run, samples, scales, read_image)
    drawn = [p.relative_to(run.out) for p in run.out.rglob("*.jpg")]
    assert drawn == [Path("overlays/memory/x/a.jpg")]
    with Image.open(run.out / drawn[0]) as image:
        assert image.size == (60, 40)
        expected = overlay(
            read_image(samples[0].path),
            read_map(run.map_path("memory", samples[0])),
            *scales["memory"],
        )
        assert np.abs(np.asarray(image, int) - np.asarray(expected, int)).mean() < 4


def test_nothing_below_the_threshold_is_as_hot_as_what_lies_above_it():
    low, high = shared_scale(maps(), (0.0, 2.0))
    assert shared_scale(maps(), (0.0, 2.0), threshold=1.9) == (low, 1.9)
    for lower in (high / 2, float("inf")):  # one that hides no heat, and none
        assert shared_scale(maps(), (0.0, 2.0), threshold=lower) == (low, high)


def test_pixels_outside_a_region_of_interest_do_not_shift_the_scale(tmp_path):
    sample = Sample(tmp_path / "a.png", "a")
    Image.new("RGB", (60, 40), "white").save(sample.path)
    run = RunFolder(tmp_path / "run", {"memory": (0.0, 1.0)}, {}).create()
    values = np.zeros((40, 60), np.float32)
    values[:, :20] = np.linspace(0.4, 0.8, 20)
    run.write_map("memory", sample, values, (60, 40))
    run.append([Row(str(sample.path), {"memory": 1.0})])
    assert shared_scales(run, [sample])["memory"][0] == 0
    low, _ = shared_scales(run, [sample], region=RegionOfInterest.of(values > 0))["memory"]
    assert low == pytest.approx(0.6, abs=0.02)
