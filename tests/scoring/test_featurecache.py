"""Features on disk take the place of a pass, and change no score."""

import numpy as np
import pytest

import vlad
from vlad.backbones.backbone import Backbone

HEADS = ("memory", "winclip", "musc")


@pytest.fixture
def passes(monkeypatch):
    """The number of images in each backbone pass."""
    counted = []
    forward = Backbone.forward

    def counting(self, pixels, **options):
        counted.append(len(pixels))
        return forward(self, pixels, **options)

    monkeypatch.setattr(Backbone, "forward", counting)
    return counted


def scored(head, small_file, drawn, cache, **options):
    made = vlad.load(head, backbone=str(small_file), device="cpu", cache=cache, **options)
    if head == "winclip":
        made.category = "nut"
    if head != "musc":  # it compares the list with itself
        made.fit(drawn[:2])
    return made.score(drawn)


@pytest.mark.parametrize("head", HEADS)
def test_the_second_time_nothing_passes_and_all_scores_are_equal(
    head, small_file, drawn, tmp_path, passes
):
    plain = scored(head, small_file, drawn, None)
    first = scored(head, small_file, drawn, str(tmp_path / "cache"))
    passes.clear()
    again = scored(head, small_file, drawn, str(tmp_path / "cache"), batch_size=3)
    assert passes == []
    for found in (first, again):
        np.testing.assert_allclose(found.image_score, plain.image_score, atol=2e-6)
        np.testing.assert_allclose(found.anomaly_map, plain.anomaly_map, atol=2e-6)


def test_another_image_size_layer_or_image_is_another_entry(small_file, drawn, tmp_path, passes):
    cache = str(tmp_path / "cache")
    scored("memory", small_file, drawn, cache, layers=(1,))
    for change in ({"image_size": 96}, {"layers": (2,)}):
        passes.clear()
        options = {"layers": (1,), **change}
        found = scored("memory", small_file, drawn, cache, **options)
        assert sum(passes) == len(drawn)  # the first two are the references too
        plain = scored("memory", small_file, drawn, None, **options)
        np.testing.assert_allclose(found.image_score, plain.image_score, atol=2e-6)
    passes.clear()
    scored("memory", small_file, [*drawn[:5], drawn[5].rotate(180)], cache, layers=(1,))
    assert passes == [1]


def test_a_broken_entry_is_computed_again(small_file, drawn, tmp_path, passes):
    expected = scored("memory", small_file, drawn, str(tmp_path))
    for file in tmp_path.rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:100])
    passes.clear()
    found = scored("memory", small_file, drawn, str(tmp_path))
    assert sum(passes) == len(drawn)
    np.testing.assert_array_equal(found.image_score, expected.image_score)


def test_a_folder_that_cannot_be_written_costs_time_and_is_said_once(small_file, drawn, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="computed each time") as said:
        scored("memory", small_file, drawn, str(tmp_path / "file" / "cache"))
    assert len(said) == 1


def test_a_saved_detector_names_no_cache(small_file, drawn, tmp_path):
    made = vlad.load("memory", backbone=str(small_file), device="cpu", cache=str(tmp_path / "c"))
    made.fit(drawn[:2]).save(tmp_path / "saved")
    assert vlad.Detector.load(tmp_path / "saved").cache is None


def test_maps_of_a_convolutional_network_are_kept_too(drawn, tmp_path, monkeypatch):
    counted, maps = [], Backbone.maps

    def counting(self, pixels):
        counted.append(len(pixels))
        return maps(self, pixels)

    monkeypatch.setattr(Backbone, "maps", counting)

    def scored(cache):
        made = vlad.load(
            "metauas", backbone="vlad-tiny", adapter="vlad-tiny-metauas", device="cpu", cache=cache
        )
        return made.fit(drawn[:1]).score(drawn)

    plain, first = scored(None), scored(str(tmp_path))
    counted.clear()
    again = scored(str(tmp_path))
    assert counted == []
    for found in (first, again):
        np.testing.assert_allclose(found.image_score, plain.image_score, atol=1e-5)
        np.testing.assert_allclose(found.anomaly_map, plain.anomaly_map, atol=1e-5)
