"""CLIP-AD gives the numbers of its authors' program: SDP by both text rules, SDP+, training."""

import numpy as np
import pytest
import torch
from PIL import Image

from vlad.adapters import Adapter
from vlad.heads.clip_ad import CLIPAD
from vlad.maths.rescore import scale
from vlad.scoring.extractor import Extractor
from vlad.scoring.panel import Panel
from vlad.training.feed import Batch
from vlad.training.learner import Learner
from vlad.training.loop import make_optimiser
from vlad.training.recipe import load_recipe
from vlad.types import BackboneInfo, TextFeatures

LAYERS = (3, 6, 9, 12)


def rename(name):
    """Names of the authors' linear layers -> ours."""
    found = name.removeprefix("linear.fc.")
    return f"projections.{found}" if found != name else None


@pytest.fixture(scope="module")
def backbone(parity_backbone):
    return parity_backbone("tinyb16_240")


@pytest.fixture(scope="module", params=["sdp_mean", "sdp_dbscan", "sdp_plus_mean"])
def setting(request, parity, parity_adapter):
    """(reference outputs, parameters of the head)."""
    case = parity.case(f"clipad_tinyb16_240_{request.param}")
    params = {"text": request.param.split("_")[-1]}
    if "plus" in request.param:
        params["adapter"] = parity_adapter("clip_ad", LAYERS, rename, case)
    # their program scales both parts over a category and adds them
    parts = [case[name].reshape(2, 4) for name in ("score_cls", "score_mapmax")]
    low, high = ([f(x, axis=1, keepdims=True) for x in parts] for f in (np.min, np.max))
    each = [(x - a) / (b - a) for x, a, b in zip(parts, low, high, strict=True)]
    return case | {"score": sum(each).ravel()}, params


def test_maps_and_scores(backbone, setting, parity_scores, assert_parity):
    case, params = setting
    assert_parity(parity_scores(backbone, lambda: CLIPAD(**params), case, image_size=240), case)


def test_text_vectors(backbone, setting):
    case, params = setting
    head = CLIPAD(**params)
    panel = Panel(backbone, {"head": head})
    for category in ("bottle", "metal_nut"):
        found = head.sides(panel.text("head", category)).T
        np.testing.assert_allclose(found, case[f"text_features.{category}"], atol=1e-5)


def test_without_rescaling_each_image_is_judged_by_itself(backbone, setting, parity_image):
    case, params = setting
    panel = Panel(backbone, {"head": CLIPAD(**params, rescale=False)})
    assert not panel.transductive
    prepared = [panel.prepare(parity_image(str(path))) for path in case["image_path"][:2]]
    both = panel.score(prepared, "bottle")["head"]
    np.testing.assert_allclose(both.anomaly_map, case["anomaly_map"][:2], atol=1e-4)
    expected = case["score_cls"] + case["score_mapmax"] / len(LAYERS)
    np.testing.assert_allclose(both.image_score, expected[:2], atol=1e-4)


def test_training(backbone, parity):
    case = parity.case("clipad_tinyb16_240_train")
    tensors = {
        name.replace("init.fc.", "projections."): torch.from_numpy(x)
        for name, x in case.items()
        if name.startswith("init.")
    }
    adapter = Adapter("a", "clip_ad", "seeded", "none", {"layers": list(LAYERS)}, tensors)
    recipe = load_recipe("clip_ad")
    learner = Learner(Extractor(backbone, 112), adapter, list(recipe.losses))
    learner.head.text = "mean"
    optimiser = make_optimiser(recipe.optimiser, learner.parameters())
    for step, index in enumerate(case["batch_index"]):
        images = [Image.fromarray(case["pictures_u8"][i]) for i in index]
        masks = torch.from_numpy((case["masks_u8"][index] > 127).astype(np.float32))
        batch = Batch(
            features=None,
            prepared=[learner.extractor.prepare(image, [learner.spec]) for image in images],
            labels=torch.from_numpy(case["labels"][index]).float(),
            masks=masks,
            masked=torch.ones(len(index), dtype=torch.bool),
            categories=[str(case["image_path"][i]).split("/")[0] for i in index],
        )
        losses = learner(batch)
        close = {"atol": 1e-5, "rtol": 1e-5}
        np.testing.assert_allclose(losses["map_focal"].item(), case["focal"][step].sum(), **close)
        dice = losses["map_dice_anomalous"].item()
        np.testing.assert_allclose(dice, case["dice"][step].sum(), **close)
        optimiser.zero_grad()
        total = sum(recipe.losses[name] * x for name, x in losses.items())
        np.testing.assert_allclose(total.item(), case["loss"][step], **close)
        total.backward()
        for name, x in learner.adapter.tensors.items():
            if step == 0:
                expected = case[name.replace("projections.", "grad1.fc.")]
                np.testing.assert_allclose(x.grad, expected, atol=3e-5, rtol=0)
        optimiser.step()
    for name, x in learner.tensors().items():
        expected = case[name.replace("projections.", "final.fc.")]
        np.testing.assert_allclose(x, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("depth", "layers", "restart"),
    [(24, (6, 12, 18, 24), (7, 13, 19)), (3, (1, 2, 3), (2, 3))],
)
def test_the_stream_restarts_after_each_quarter(depth, layers, restart):
    spec = CLIPAD().spec(BackboneInfo("any", depth, 8, 8, 16, 64, has_text=True))
    assert spec.layers == layers
    assert spec.stream.restart == restart
    assert spec.further[0].cls == layers


def test_a_side_without_a_cluster_is_represented_by_all_its_sentences():
    rows = torch.eye(6)
    text = TextFeatures(rows[:4], rows[[4, 4, 4, 5]])
    with pytest.warns(UserWarning, match="4 normal sentences have no cluster of 3 within 0.5"):
        found = CLIPAD(min_samples=3).sides(text)
    torch.testing.assert_close(found[0], rows[:4].sum(dim=0) / 2, atol=1e-3, rtol=0)
    torch.testing.assert_close(found[1], rows[4], atol=1e-3, rtol=0)


def test_sentences_are_clustered_once_for_a_category(small_backbone, drawn, monkeypatch):
    import sklearn.cluster

    seen, original = [], sklearn.cluster.DBSCAN
    monkeypatch.setattr(
        sklearn.cluster, "DBSCAN", lambda **options: seen.append(options) or original(**options)
    )
    panel = Panel(small_backbone, {"head": CLIPAD(rescale=False)})
    for image in drawn[:3]:
        panel.score([panel.prepare(image)], "washer")
    assert seen == 2 * [{"eps": 0.5, "min_samples": 15}]


def test_the_score_sums_what_is_scaled_over_all_images(small_backbone, drawn):
    head = CLIPAD(text="mean")
    panel = Panel(small_backbone, {"head": head})
    pools = {}
    panel.score([panel.prepare(image) for image in drawn], "nut", pools)
    done = []
    (found,) = pools["head"].scores(lambda *steps: done.append(steps))
    assert done == [(1, 1)]
    (probability,) = pools["head"].probabilities
    expected = scale(probability) + scale(found.anomaly_map.flatten(1).amax(dim=1))
    torch.testing.assert_close(found.image_score, expected)
    assert found.image_score.min() >= 0
    assert head.map_range[0] <= found.anomaly_map.min()


def test_smoothing_can_be_left_out(small_backbone, drawn):
    maps = []
    for sigma in (0, 8):
        panel = Panel(small_backbone, {"head": CLIPAD(sigma=sigma, text="mean", rescale=False)})
        maps.append(panel.score([panel.prepare(drawn[0])], "nut")["head"].anomaly_map)
    assert maps[0].std() > maps[1].std() > 0


def test_it_says_what_it_needs():
    from vlad.heads.facts import head_facts

    assert head_facts("clip_ad").needs == "a category, several images; an adapter optional"


def test_features_of_one_pass_serve_with_and_without_an_adapter(small_backbone, small_adapter):
    plain, learned = CLIPAD(), CLIPAD(small_adapter("clip_ad"))
    one, two = (head.spec(small_backbone.info) for head in (plain, learned))
    assert two.further[:-1] == one.further
    extractor = Extractor(small_backbone)
    assert extractor.pass_of(one) == extractor.pass_of(two)
