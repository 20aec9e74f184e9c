"""Heads that describe normal images by Gaussians: against known programs, and their parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vlad.heads import load_head
from vlad.types import Features


def features(tokens: np.ndarray, layers=(4, 8, 12), channels: int | None = None) -> Features:
    """(L, B, N, C) tokens on a square grid."""
    x = torch.from_numpy(tokens.astype(np.float32))[..., :channels]
    side = int(x.shape[2] ** 0.5)
    patches = dict(zip(layers, x, strict=True))
    return Features(image=None, patches=patches, grid=(side, side), size=(112, 112))


@pytest.fixture(scope="module")
def tokens(parity):
    return parity.case("heads_tokens")


def test_mvg_as_its_authors_have_it(parity, tokens):
    case = parity.case("gaussianad_tinydinov2_14")
    head = load_head("mvg").fit(features(tokens["train"]))
    found = head.score(features(tokens["test"]))
    np.testing.assert_allclose(found.image_score, case["full.score"], rtol=2e-5)
    for name, components in (("pca", "largest"), ("npca", "smallest")):
        head = load_head("mvg", components=components).fit(features(tokens["train"], channels=8))
        found = head.score(features(tokens["test"], channels=8))
        np.testing.assert_allclose(found.image_score, case[f"{name}.score"], rtol=2e-5)


def test_padim_as_a_known_program_has_it(parity, tokens):
    case = parity.case("padim_tinydinov2_14")
    # that program draws from 448 channels even where there are 576
    joined = {key: np.concatenate(list(x), axis=-1)[None, ..., :448] for key, x in tokens.items()}
    head = load_head("padim").fit(features(joined["train"], layers=(4,)))
    found = head.score(features(joined["test"], layers=(4,)))
    spread = case["dist"].std()
    np.testing.assert_allclose(found.image_score, case["score"], atol=1e-5 * spread, rtol=1e-5)
    np.testing.assert_allclose(found.anomaly_map[-1], case["map"], atol=1e-5 * spread, rtol=1e-5)
