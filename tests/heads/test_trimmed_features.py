"""Heads on features alone against the parts of their reference outputs that every clone has."""

import pytest
import torch
from trimmed import assert_close, at_distance, load

from vlad.heads import dfr, simplenet
from vlad.heads.dfr import DFR
from vlad.heads.memory import Memory
from vlad.heads.musc import MuSc
from vlad.heads.patchcore import patchcore
from vlad.heads.simplenet import SimpleNet
from vlad.heads.subspace import Subspace
from vlad.maths.maps import upsample
from vlad.maths.mutual import mean_distance
from vlad.maths.neighbourhoods import lnamd, snamd
from vlad.maths.rescore import rescore
from vlad.types import Features


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    return load("parity")


def test_patchcore(expected):
    head = patchcore()
    head.neighbourhood = 1  # these vectors were averaged and joined by PatchCore
    head.memory_ = {"joined": expected["patchcore_bank"]}
    found = head.score(
        Features(None, {12: expected["patchcore_test"]}, grid=(17, 17), size=(238, 238))
    )
    assert_close(found.image_score, expected["patchcore_score"], atol=2e-3)  # of 173
    assert_close(found.anomaly_map[:, ::4, ::4], expected["patchcore_map"], atol=2e-3)


def test_patchcore_neighbourhoods_and_joined_layers():
    known = load("memory")
    corner = dict(zip((12, 18), known["tokens"][:, None], strict=True))
    head = patchcore(coreset=None).fit(Features(None, corner, grid=(6, 6), size=(84, 84)))
    # at the cut edges of the corner there are neighbours missing
    found = head.memory_["joined"].unflatten(0, (6, 6))[:5, :5].flatten(0, 1)
    assert_close(found, known["joined"])


def test_patchcore_remembers_as_much(expected):
    tokens = dict.fromkeys((12, 18), torch.ones(2, 17 * 17, 16))  # of two images
    head = patchcore().fit(Features(None, tokens, grid=(17, 17), size=(238, 238)))
    assert len(head.memory_["joined"]) == len(expected["patchcore_bank"])


def test_anomalydino(expected):
    # their program compares one block; the distances of several are averaged
    tokens = dict.fromkeys((12, 18), 3 * at_distance(expected["adino_distance"].flatten(1)))
    one = dict.fromkeys((12, 18), torch.tensor([[[2.0, 0.0]]]))
    head = Memory().fit(Features(None, one, grid=(1, 1), size=(14, 14)))
    found = head.score(Features(None, tokens, grid=(17, 17), size=(700, 700)))
    assert_close(found.image_score, expected["adino_score"], atol=1e-6)
    assert_close(found.anomaly_map[0, ::8, ::8], load("memory")["map"], atol=1e-6)


def test_simplenet(monkeypatch):
    known = load("networks")
    tokens = known["tokens"].float()
    found = simplenet.embed(tokens[:, None].unbind(), (8, 8), 160, pooled=256)
    assert_close(found[0, ::4], known["embedded"], atol=1e-5)
    head = SimpleNet()
    head.memory_ = {name: torch.ones(384) for name in simplenet.ADAPTED}
    # what their discriminator says, whose weights would take too much room
    monkeypatch.setattr(simplenet, "adapt", lambda *_: None)
    monkeypatch.setattr(simplenet, "judge", lambda *_: -known["patch_score"].flatten())
    found = head.score(Features(None, {4: tokens[:1]}, grid=(8, 8), size=(112, 112)))
    assert_close(found.image_score, known["simplenet_score"], atol=1e-6)
    assert_close(found.anomaly_map[0, ::8, ::8], known["simplenet_map"], atol=1e-5)


def test_dfr(monkeypatch):
    known = load("networks")
    tokens = known["tokens"].float()
    found = dfr.regional(tokens[:, None].unbind(), (8, 8), 14)
    assert_close(found[0, ::7, ::8], known["regional"], atol=1e-5)
    head = DFR(side=14)
    head.memory_ = {"variance": torch.ones(1)}
    monkeypatch.setattr(dfr, "error", lambda *_: known["energy"].flatten())
    found = head.score(Features(None, {4: tokens[:1]}, grid=(8, 8), size=(112, 112)))
    assert_close(found.image_score, known["dfr_score"], atol=1e-5)
    assert_close(found.anomaly_map[0, ::8, ::8], known["dfr_map"], atol=2e-5)


def test_musc_neighbourhoods_and_distances():
    known = load("musc")
    for i, side in enumerate((1, 3, 5)):
        rows = lnamd(known["tokens"][None].float(), (17, 17), side)
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


def test_second_musc():
    known, head = load("muscv2"), MuSc(v2=True)
    rows = snamd(known["tokens"][None], (8, 8), head.r)
    assert_close(rows[0], known["snamd"].float(), atol=5e-4)
    maps = upsample(known["grid_map"].unflatten(1, (8, 8)), (64, 64), align_corners=True)
    assert_close(maps[:1], known["anomaly_map"])
    scores = rescore(maps.flatten(1).amax(dim=1), known["salient"], head.neighbours)
    assert_close(scores, known["score"])


def test_subspace_mask_by_attention():
    known = load("subspace")
    features = Features(
        None,
        {1: torch.zeros(1, 256, 1)},
        grid=(16, 16),
        size=(224, 224),
        further=(Features(None, {7: known["attention"][..., None]}, (16, 16), (224, 224)),),
    )
    kept = Subspace(mask="attention").learned_from(features)
    assert torch.equal(kept, known["kept"])
