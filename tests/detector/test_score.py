"""What a detector gives for images: scores, streams, batches."""

import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image
from same_scores import same

import vlad
from vlad.errors import HeadError, ImageError, InputError
from vlad.types import Box


def test_numpy_comes_out(detector, drawn):
    scores = detector.score(drawn)
    assert isinstance(scores.image_score, np.ndarray)
    assert scores.image_score.shape == (6,)
    assert scores.anomaly_map.shape == (6, 64, 64)


def test_files_images_and_arrays_are_the_same(detector, drawn, images):
    expected = detector.score(drawn[5])
    assert expected.image_score.shape == (1,)
    same(detector.score(str(images / "5.png")), expected)
    same(detector.score(images / "5.png"), expected)
    same(detector.score(np.asarray(drawn[5])), expected)
    same(detector.score(images), detector.score(drawn))
    same(detector.score([images / "5.png", drawn[5]]), detector.score([drawn[5]] * 2))


def test_tensors_batches_bytes_and_open_files_are_the_same(detector, drawn, images):
    arrays = np.stack([np.asarray(image.resize((80, 70))) for image in drawn])
    tensors = [torch.from_numpy(array).permute(2, 0, 1) for array in arrays]
    expected = detector.score(list(arrays))
    same(detector.score(tensors), expected)
    same(detector.score(torch.stack(tensors) / 255), expected)
    same(detector.score(arrays), expected)
    same(detector.score([arrays[:2], torch.stack(tensors[2:])]), expected)
    same(detector.score(batch for batch in arrays.reshape(3, 2, *arrays.shape[1:])), expected)
    paths, expected = sorted(images.glob("*.png")), detector.score(drawn)
    same(detector.score(path.read_bytes() for path in paths), expected)
    same(detector.score(paths[5].read_bytes()), detector.score(paths[5]))
    with paths[5].open("rb") as file:
        same(detector.score(file), detector.score(paths[5]))
    same(detector.fit([path.read_bytes() for path in paths[:2]]).score(drawn), expected)


@pytest.mark.parametrize("given", [[], iter([]), np.zeros((0, 64, 64, 3), np.uint8)])
def test_no_image_is_refused(detector, given):
    with pytest.raises(InputError, match="`images` is empty"):
        detector.score(given)
    with pytest.raises(InputError, match="`images` is empty"):
        detector.fit(given)


@pytest.mark.parametrize("given", [5, None, [5]])
def test_what_is_no_image_is_refused(detector, given):
    with pytest.raises(ImageError, match="as an image; give a path, bytes"):
        detector.score(given)


def test_a_batch_of_a_data_pipeline(detector, drawn):
    batch = detector({"image": [np.asarray(image) for image in drawn], "key": np.arange(6)})
    same(vlad.Scores(batch["image_score"], batch["anomaly_map"]), detector.score(drawn))
    assert batch["key"].tolist() == list(range(6))


def test_zero_shot_needs_only_words(small_file, drawn):
    made = vlad.load("winclip", backbone=str(small_file), device="cpu", category="nut")
    few_shot = vlad.load("winclip", backbone=str(small_file), device="cpu", category="nut")
    zero, few = made.score(drawn), few_shot.fit(drawn[:1]).score(drawn)
    assert ((zero.image_score > 0) & (zero.image_score < 1)).all()
    assert np.abs(zero.image_score - few.image_score).max() > 1e-3


def test_what_is_missing_is_said(small_file, drawn, tmp_path):
    with pytest.raises(HeadError, match="fit it"):
        vlad.load("memory", backbone=str(small_file), device="cpu").score(drawn)
    with pytest.raises(InputError):
        vlad.load("memory", backbone=str(small_file), device="cpu").fit(tmp_path / "nowhere")


def test_an_image_to_be_cut_waits_at_its_own_size(small_file):
    made = vlad.load("memory", backbone=str(small_file), device="cpu", tile=32, overlap=0.8)
    made.prepare(Image.new("RGB", (40, 40)))
    tracemalloc.start()
    try:
        prepared = made.prepare(Image.new("RGB", (400, 400)))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert prepared.size == (400, 400)
    assert held < 400 * 400 * 3


@pytest.mark.parametrize("tile", [None, 48])
def test_prepared_images_score_as_they_are(small_file, drawn, tile):
    made = vlad.load("memory", backbone=str(small_file), device="cpu", tile=tile).fit(drawn[:2])
    prepared = [made.prepare(image) for image in drawn]
    assert [one.size for one in prepared] == [image.size for image in drawn]
    one, other = made.score(prepared), made.score(drawn)
    np.testing.assert_array_equal(one.image_score, other.image_score)
    for found, expected in zip(one.anomaly_map, other.anomaly_map, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_images_from_an_iterator_are_opened_one_by_one(detector, drawn):
    same(detector.score(image for image in drawn), detector.score(drawn))


def test_a_category_in_place_of_its_own(small_file, drawn):
    made = vlad.load("winclip", backbone=str(small_file), device="cpu", category="nut")
    other = vlad.load("winclip", backbone=str(small_file), device="cpu", category="cable")
    same(made.score(drawn, category="cable"), other.score(drawn))
    assert (made.score(drawn).image_score != other.score(drawn).image_score).any()


@pytest.mark.parametrize("tile", [None, 48])
def test_a_stream_gives_each_image_its_scores_or_its_error(small_file, drawn, images, tile):
    made = vlad.load("memory", backbone=str(small_file), device="cpu", tile=tile, batch_size=2)
    made.fit(drawn[:2])
    (images / "2.png").write_bytes(b"no image")
    given = [images / f"{i}.png" for i in range(5)] + [drawn[5], np.zeros((2, 2), complex)]
    found = list(made.stream(given))
    assert [one.index for one in found] == list(range(7))
    assert [one.image for one in found] == given
    assert [one.index for one in found if one.error] == [2, 6]
    assert "2.png" in found[2].error and found[2].image_score is None
    for one, image in zip(found, drawn, strict=False):
        if not one.error:
            expected = made.score(image)
            assert one.size == image.size
            assert one.image_score == pytest.approx(expected.image_score[0], abs=1e-6)
            np.testing.assert_allclose(one.anomaly_map, expected.anomaly_map[0], atol=1e-6)
    with pytest.raises(ImageError, match=r"2\.png"):
        made.score(given)


def test_a_stream_reads_no_further_ahead_than_two_batches(small_file, drawn):
    made = vlad.load("memory", backbone=str(small_file), device="cpu", batch_size=2).fit(drawn[:2])
    taken = []

    def endless():
        while True:
            taken.append(None)
            yield drawn[0]

    stream = made.stream(endless())
    for _ in range(4):
        next(stream)
    stream.close()
    assert len(taken) <= 4 + 3 * 2


def test_a_stream_of_a_joint_head_keeps_the_order(small_file, drawn, images):
    made = vlad.load("musc", backbone=str(small_file), device="cpu", batch_size=2)
    (images / "2.png").write_bytes(b"no image")
    found = list(made.stream([images / f"{i}.png" for i in range(6)]))
    assert [one.index for one in found] == list(range(6))
    assert [one.index for one in found if one.error] == [2]
    good = [drawn[i] for i in (0, 1, 3, 4, 5)]
    scores = [one.image_score for one in found if not one.error]
    np.testing.assert_allclose(scores, made.score(good).image_score, atol=1e-6)


def test_one_image_in_several_places_is_decoded_by_one_thread_at_a_time(detector, images):
    with Image.open(images / "0.png") as opened:  # decoded when it is first used
        scores = detector.score([opened] * 20).image_score
    assert len(set(scores.tolist())) == 1


@pytest.fixture
def boxed(small_file, small_adapter):
    return vlad.load(
        "filo",
        backbone=str(small_file),
        device="cpu",
        category="nut",
        adapter=str(small_adapter("filo")),
    )


def test_boxes_weaken_the_map_of_their_image_outside_of_them(boxed, drawn):
    before = boxed.score(drawn[:2])
    corner = Box((0.0, 0.0, 0.5, 0.5), 0.9, "rust")
    same(boxed.score(drawn[:2], boxes=[[], []]), before)
    after = boxed.score(drawn[:2], boxes=[[], [corner]])
    np.testing.assert_array_equal(after.anomaly_map[0], before.anomaly_map[0])
    # the position of the box chooses among the prompts; the rest of the map is weakened
    assert after.image_score[1] != before.image_score[1]
    whole = boxed.score(drawn[1], boxes=[[Box((0.0, 0.0, 1.0, 1.0), 0.1, "rust"), corner]])
    ratio = after.anomaly_map[1] / whole.anomaly_map[0]
    np.testing.assert_allclose(ratio[:32, :32], 1, rtol=1e-5)
    np.testing.assert_allclose(ratio[32:, 32:], 0.7, rtol=1e-5)


@pytest.mark.parametrize(
    ("edges", "score"),
    [((0.5, 0.0, 0.5, 1.0), 0.5), ((0.0, 0.0, 1.5, 1.0), 0.5), ((0.0, 0.0, 1.0, 1.0), 50.0)],
)
def test_a_box_that_does_not_fit_is_refused(boxed, drawn, edges, score):
    with pytest.raises(InputError, match="which does not fit"):
        boxed.score(drawn[0], boxes=[[Box(edges, score, "rust")]])


def test_boxes_that_do_not_fit_the_images_or_the_head_are_refused(boxed, detector, drawn):
    with pytest.raises(InputError, match="of 1 image, but there are 2"):
        boxed.score(drawn[:2], boxes=[[]])
    with pytest.raises(HeadError, match="No head here uses boxes"):
        detector.score(drawn[0], boxes=[[]])
    boxed.set_params(tile=32)
    with pytest.raises(InputError, match="leave `boxes` or `tile` out"):
        boxed.score(drawn[0], boxes=[[]])
