"""A part of the reference outputs that every clone has: the maths of the heads, without a backbone.

`tests/data` holds features, maps (every fourth pixel) and scores of drawn images, computed by
anomalib's WinCLIP, PatchCore, AnomalyDINO, AnomalyCLIP and MuSc on seeded random weights.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from vlad.heads.anomalyclip import AnomalyCLIP
from vlad.heads.musc import aggregate, mean_distance
from vlad.heads.winclip import WinCLIP
from vlad.maths.maps import top_mean, upsample
from vlad.maths.neighbours import Bank
from vlad.maths.rescore import rescore
from vlad.types import Features, TextFeatures


def load(name: str) -> dict[str, torch.Tensor]:
    with np.load(Path(__file__).parent.parent / "data" / f"{name}.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    return load("parity")


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
    distance = Bank(expected["patchcore_bank"], "squared_l2").nearest(expected["patchcore_test"])
    assert_close(top_mean(distance, 0), expected["patchcore_score"], atol=2e-3)  # of 173
    found = upsample(distance.unflatten(1, (17, 17)), (238, 238), sigma=4)
    assert_close(found[:, ::4, ::4], expected["patchcore_map"], atol=2e-3)


def test_anomalydino_image_score(expected):
    found = top_mean(expected["adino_distance"].flatten(1), 0.01)
    assert_close(found, expected["adino_score"], atol=1e-6)


def test_anomalyclip():
    known = load("anomalyclip")
    head = AnomalyCLIP()
    features = Features(
        image=known["image"], patches={24: known["patches"]}, grid=(17, 17), size=(238, 238)
    )
    found = head.score(features, TextFeatures(*known["text"][:, None]))
    assert_close(found.image_score, known["score"])
    assert_close(found.anomaly_map[:, ::4, ::4], known["map"])


def test_musc_neighbourhoods_and_distances():
    known = load("musc")
    for i, side in enumerate((1, 3, 5)):
        rows = aggregate(known["tokens"][None].float(), (17, 17), side)
        assert_close(rows[0, known["patch"]], known["lnamd"][i])
    # the nearest patches of each of the seven images; the first is the image itself
    similarity = (known["lnamd"][2] * known["nearest"][1:]).sum(dim=-1)
    assert_close(mean_distance(similarity[None], (0, 0.3))[0], known["msm"])


def test_musc_maps_and_rescoring():
    known = load("musc")
    maps = upsample(known["grid_map"].unflatten(1, (17, 17)), (238, 238), align_corners=True)
    assert_close(maps[:1, ::4, ::4], known["anomaly_map"])
    assert_close(maps.flatten(1).amax(dim=1), known["max"])
    assert_close(rescore(known["max"], known["image"], (1, 2, 3)), known["score"])


def assert_close(found, expected, atol=1e-4):
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)
