"""A part of the reference outputs that every clone has: the maths of the heads, without a tower.

`tests/data/parity.npz` holds features, maps (every fourth pixel) and scores of one drawn picture,
computed by anomalib's WinCLIP, PatchCore and AnomalyDINO on seeded random weights.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from vlad.heads.winclip import WinCLIP
from vlad.maps import top_mean, upsample
from vlad.neighbours import nearest_distance
from vlad.types import Features, TextFeatures


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    with np.load(Path(__file__).parent.parent / "data" / "parity.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def test_winclip(expected):
    features = Features(
        image=expected["winclip_image"],
        patches={},
        grid=(15, 15),
        size=(240, 240),
        windows={2: expected["winclip_window2"], 3: expected["winclip_window3"]},
    )
    text = TextFeatures(*expected["winclip_text"][:, None])
    found = WinCLIP().score(features, text)
    assert_close(found.image_score, expected["winclip_score"])
    assert_close(found.anomaly_map[:, ::4, ::4], expected["winclip_map"])


def test_patchcore(expected):
    distance = nearest_distance(
        expected["patchcore_test"], expected["patchcore_bank"], "squared_l2"
    )
    assert_close(top_mean(distance, 0), expected["patchcore_score"], atol=2e-3)  # of 173
    found = upsample(distance.unflatten(1, (17, 17)), (238, 238), sigma=4)
    assert_close(found[:, ::4, ::4], expected["patchcore_map"], atol=2e-3)


def test_anomalydino_image_score(expected):
    found = top_mean(expected["adino_distance"].flatten(1), 0.01)
    assert_close(found, expected["adino_score"], atol=1e-6)


def assert_close(found, expected, atol=1e-4):
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)
