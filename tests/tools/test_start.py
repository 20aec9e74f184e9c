"""The descriptor that training starts from does what it says."""

import numpy as np
import open_clip
import pytest
import torch
from tiny import start
from tiny.model import CONFIG, MEAN, STD, initialise


@pytest.fixture(scope="module")
def visual():
    model = open_clip.CLIP(**CONFIG).eval()
    initialise(model.visual)
    return model.visual


@torch.no_grad()
def tokens(visual, images):
    """Raw patch tokens after each block: a list of (B, 225, width)."""
    pixels = (torch.as_tensor(images, dtype=torch.float32) - MEAN) / STD
    found = visual.forward_intermediates(pixels.permute(0, 3, 1, 2), output_fmt="NLC")
    return found["image_intermediates"]


def grating(angle, period):
    y, x = np.mgrid[0:240, 0:240]
    wave = np.sin(2 * np.pi / period * (x * np.cos(angle) + y * np.sin(angle)))
    return np.repeat((0.5 + 0.3 * wave)[..., None], 3, axis=2)


@pytest.mark.parametrize(("scale", "period"), [(0, 5), (1, 10)])
def test_a_grating_excites_the_energy_of_its_angle_and_scale(visual, scale, period):
    angles = np.pi * np.arange(start.ANGLES) / start.ANGLES
    found = tokens(visual, np.stack([grating(angle, period) for angle in angles]))[1]
    logs = found[..., list(start.LOG)].mean(dim=1)[:, : 2 * start.ANGLES]
    expected = scale * start.ANGLES + np.arange(start.ANGLES)
    assert logs.argmax(dim=1).tolist() == expected.tolist()


def test_colour_is_the_mean_of_the_patch_and_context_that_of_its_neighbours(visual):
    image = np.full((1, 240, 240, 3), 0.5)
    image[0, :, 112:128] = (0.9, 0.5, 0.1)  # the patches of column 7
    last = tokens(visual, image)[2].reshape(15, 15, -1)
    colour, context = last[..., list(start.COLOUR)], last[..., list(start.CONTEXT)][..., :3]
    torch.testing.assert_close(
        colour[7, 7] - colour[7, 0], torch.tensor([0.4, 0, -0.4]), atol=0.03, rtol=0
    )
    red = context[7, :, 0] - context[7, 0, 0]
    assert red[7] > red[6] > 0.01 > red[5].abs()
    assert red[3].abs() < 0.01


def test_an_odd_patch_is_novel(visual):
    random = np.random.default_rng(0)
    image = 0.5 + 0.02 * random.normal(size=(1, 240, 240, 3))
    image[0, 96:112, 96:112] = (0.9, 0.2, 0.2)
    novelty = tokens(visual, image)[3][0, :, list(start.NOVELTY)].sum(dim=1)
    assert novelty.argmax() == 6 * 15 + 6
