"""Context images against slow plain versions, with a keyword that is a colour."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from vlad.errors import InputError
from vlad.heads import load_head
from vlad.scoring.panel import Panel
from vlad.vlm.context import (
    context_images,
    crops,
    key_frames,
    position_image,
    similar_to,
    temporal_image,
)


def red(pixels):
    """How much redder than blue images are."""
    return (pixels[:, 0] - pixels[:, 2]).mean(dim=(1, 2))


@pytest.fixture
def noise():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(4, 3, 240, 240, generator=generator)


def test_the_frames_shown_stand_at_one_place_of_each_quarter():
    assert key_frames(F.one_hot(torch.tensor(6), 16).float()) == (6, [2, 6, 10, 14])
    assert key_frames(F.one_hot(torch.tensor(15), 16).float()) == (15, [3, 7, 11, 15])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_crops_are_row_by_row(noise, count):
    side = 240 // count
    found = crops(noise, count)
    for i in range(count):
        for j in range(count):
            part = noise[:, :, i * side : (i + 1) * side, j * side : (j + 1) * side]
            assert found[:, i * count + j].equal(part)


def test_the_position_image_is_the_frame_times_how_similar_its_parts_are(noise):
    frame, total = noise[0].double(), torch.zeros(224, 224, dtype=torch.float64)
    for count in (1, 3, 5):
        side, values = 240 // count, torch.zeros(count, count, dtype=torch.float64)
        for i in range(count):
            for j in range(count):
                part = frame[:, i * side : (i + 1) * side, j * side : (j + 1) * side]
                values[i, j] = part[0].mean() - part[2].mean()
        for y in range(224):
            for x in range(224):
                total[y, x] += between(values, y, x, 224) / 3
    weights = (total - total.min()) / (total.max() - total.min())
    whole = F.interpolate(frame[None], (224, 224), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(position_image(frame, red), whole * weights)


def between(values, y, x, side):
    """A grid of values, read between its middles."""
    count = len(values)
    (top, down), (left, right) = (
        divmod(min(max((at + 0.5) * count / side - 0.5, 0), count - 1), 1) for at in (y, x)
    )
    rows = [values[int(min(top + i, count - 1))] for i in (0, 1)]
    ends = [
        row[int(left)] * (1 - right) + row[int(min(left + 1, count - 1))] * right for row in rows
    ]
    return ends[0] * (1 - down) + ends[1] * down


def test_a_frame_that_is_alike_everywhere_stays_as_it_is():
    grey = torch.full((3, 240, 240), 0.5)
    torch.testing.assert_close(position_image(grey, red), torch.full((3, 224, 224), 0.5))


def test_the_temporal_image_shows_the_most_similar_place_in_all_frames(noise):
    # a quarter of the third frame, and more of a sixteenth within it
    noise[2, 0, 120:180, 60:120] = 1
    noise[2, 2, 120:180, 60:120] = 0
    found = temporal_image(noise, red)
    assert found.shape == (3, 224, 224)
    for place, frame in enumerate(noise):
        part = F.interpolate(
            frame[None, :, 120:180, 60:120], (112, 112), mode="bilinear", align_corners=False
        )
        y, x = 112 * (place // 2), 112 * (place % 2)
        torch.testing.assert_close(found[:, y : y + 112, x : x + 112], part[0])


def test_a_whole_frame_may_be_the_place():
    frames = torch.zeros(4, 3, 240, 240)
    frames[1, 0] = 0.5  # equal crops are no better than the whole
    expected = torch.zeros(3, 224, 224)
    expected[0, :112, 112:] = 0.5
    torch.testing.assert_close(temporal_image(frames, red), expected)


def test_images_of_a_segment():
    frames = [Image.new("RGB", (320, 180), (i, 0, 0)) for i in range(16)]
    frames[5] = Image.new("RGB", (320, 180), (200, 0, 0))
    key, position, temporal = context_images(frames, red)
    assert key is frames[5]
    assert position.size == temporal.size == (224, 224)
    assert position.getpixel((10, 10)) == (200, 0, 0)
    corners = [temporal.getpixel((x, y))[0] for y in (10, 200) for x in (10, 200)]
    assert corners == [1, 200, 9, 13]
    with pytest.raises(InputError, match="A segment has 15 frames of 1 sizes; give 16"):
        context_images(frames[1:], red)
    with pytest.raises(InputError, match="16 frames of 2 sizes"):
        context_images([*frames[1:], Image.new("RGB", (100, 100))], red)


def test_the_encoder_reads_pixels_as_they_are(small_backbone):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    panel = Panel(small_backbone, {"flashback": load_head("flashback")})
    (normalised,) = panel.prepare(image).values()
    features, _ = panel.inputs("flashback", panel.prepare(image), "street")
    word = small_backbone.encode_text(["a bicycle"])
    found = similar_to("a bicycle", small_backbone)(
        torch.from_numpy(normalised).reshape(1, 3, 64, 64)
    )
    torch.testing.assert_close(found, F.cosine_similarity(features.image, word))
