"""A part of the reference outputs that every clone has: the maths of the heads, without a backbone.

`tests/data` holds features, maps (every fourth or eighth pixel) and scores of drawn images, which
the authors' programs (for WinCLIP, anomalib) computed on seeded random weights. Where tokens would
take too much room it holds their cosines, and the tests make vectors that have these. Heads keep
their defaults, so that a constant that is no longer the authors' fails here.
"""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from trimmed import LAYERS, assert_close, at_cosine, at_distance, load

from vlad.adapters import Adapter
from vlad.adapters.shapes import MMCI
from vlad.heads import adaclip
from vlad.heads.adaclip import AdaCLIP
from vlad.heads.adaptclip import AdaptCLIP
from vlad.heads.anomalyclip import AnomalyCLIP
from vlad.heads.anovl import AnoVL
from vlad.heads.april_gan import AprilGAN
from vlad.heads.clip_ad import CLIPAD
from vlad.heads.filo import FiLo
from vlad.heads.hftt import foreign_logit
from vlad.heads.laft import LAFT
from vlad.heads.sowa import SOWA
from vlad.heads.winclip import WinCLIP
from vlad.maths.maps import upsample
from vlad.training import losses
from vlad.training.from_text import text_losses
from vlad.types import Box, Features, TextFeatures


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


def test_winclip_with_normal_images():
    known = load("winclip")
    basis = torch.eye(2 + 14 * 14 + 1)
    sides, own, spare = basis[:2], basis[2:-1], basis[-1]
    windows, references = {}, {}
    for side in (2, 3):
        cosine, near = known[f"window{side}_cosine"], 1 - known[f"window{side}_distance"][..., None]
        windows[side] = at_cosine(cosine, sides, own[: cosine.shape[1]])
        # each has a reference of its own, which is far from all others
        references[side] = near * windows[side] + (1 - near.square()).sqrt() * spare
    common = {"grid": (15, 15), "size": (240, 240)}
    normal = Features(None, {12: torch.tensor([[[1.0, 0.0]]])}, windows=references, **common)
    patches = {12: at_distance(known["patch_distance"])}
    image = at_cosine(known["image_cosine"], sides, own[0])
    found = (
        WinCLIP()
        .fit(normal)
        .score(Features(image, patches, windows=windows, **common), TextFeatures(*sides[:, None]))
    )
    assert_close(found.image_score, known["score"])
    assert_close(found.anomaly_map[:, ::8, ::8], known["map"])


@pytest.fixture(scope="module")
def april_gan():
    """(reference outputs, maker of a head, features of four images, of a normal one, text)."""
    known = load("april_gan")
    sides = torch.eye(3)[:2]
    words = at_cosine(known["cosine"], sides)  # (B, L, h·w, 3)
    bias, count = 0.5, len(LAYERS)
    # a fourth channel, of which the projections know nothing, brings about the distances
    near = 1 - known["distance"]
    fourth = (words - bias).norm(dim=-1) * near / (1 - near.square()).sqrt()
    tokens = torch.cat([words - bias, fourth[..., None]], dim=-1)
    tensors = {f"projections.{i}.weight": torch.eye(3, 4) for i in range(count)}
    tensors |= {f"projections.{i}.bias": torch.full((3,), bias) for i in range(count)}

    def make(**params):
        head = AprilGAN(**params)
        head.adapter_ = Adapter("seeded", "april_gan", "seeded", "none", {}, tensors)
        return head

    features = Features(
        at_cosine(known["image_cosine"], sides),
        dict(zip(LAYERS, tokens.unbind(1), strict=True)),
        grid=(17, 17),
        size=(238, 238),
    )
    one = torch.tensor([[[0.0, 0.0, 0.0, 1.0]]])
    normal = Features(None, dict.fromkeys(LAYERS, one), grid=(1, 1), size=(14, 14))
    return known, make, features, normal, TextFeatures(*sides[:, None])


def test_april_gan_by_words(april_gan):
    known, make, features, _, text = april_gan
    found = make().score(features, text)
    assert_close(found.image_score, known["zero_shot_score"])
    assert_close(found.anomaly_map[:, ::8, ::8], known["zero_shot_map"])


def test_april_gan_with_normal_images(april_gan):
    known, make, features, normal, text = april_gan
    head = make().fit(normal)
    assert head.transductive  # the authors scale over all images
    pool = head.pool()
    pool.add(features, text)
    (found,) = pool.scores()
    assert_close(found.image_score, known["few_shot_score"])
    assert_close(found.anomaly_map[:, ::8, ::8], known["few_shot_map"])


def test_april_gan_without_rescaling(april_gan):
    known, make, features, normal, text = april_gan
    head = make(rescale=False).fit(normal)
    assert not head.transductive
    found = head.score(features, text)
    expected = (known["zero_shot_score"] + known["few_shot_max"]) / 2
    assert_close(found.image_score, expected)


@pytest.mark.parametrize("name", ["sdp", "plus"])
def test_clip_ad(name):
    known = load("clip_ad")
    bias, blocks = 0.5, (3, 6, 9, 12)

    def both(cosines):  # (..., 3) unit vectors with these cosines with the two sides
        rest = (1 - cosines.square().sum(dim=-1, keepdim=True)).sqrt()
        return torch.cat([cosines, rest], dim=-1)

    def of_blocks(each):
        return dict(zip(blocks, each.unbind(1), strict=True))

    def features(images):
        parts = {part: both(known[part][images]) for part in ("patch", "class", "projected")}
        common = {"grid": (15, 15), "size": (240, 240)}
        return Features(
            both(known["image"][images]),
            of_blocks(parts["patch"]),
            further=(
                Features(None, {}, cls=of_blocks(parts["class"]), **common),
                Features(None, of_blocks(parts["projected"] - bias), **common),
            ),
            **common,
        )

    tensors = {f"projections.{i}.weight": torch.eye(3) for i in range(4)}
    tensors |= {f"projections.{i}.bias": torch.full((3,), bias) for i in range(4)}
    adapter = Adapter("seeded", "clip_ad", "seeded", "none", {"layers": blocks}, tensors)
    head = CLIPAD(adapter if name == "plus" else None, text="mean")
    head.adapter_ = adapter
    text = TextFeatures(*torch.eye(3)[:2][:, None])
    pool = head.pool()
    for images in ([0, 1, 2], [3]):
        pool.add(features(images), text)
    found = list(pool.scores())
    parts = [known["probability"], known[f"{name}_max"]]
    expected = sum((x - x.min()) / (x.max() - x.min()) for x in parts)
    assert_close(torch.cat([part.image_score for part in found]), expected)
    maps = torch.cat([part.anomaly_map for part in found])
    assert_close(maps[:, ::8, ::8], known[f"{name}_map"], atol=1e-5)


def test_anovl():
    known, sides = load("anovl"), torch.eye(3)[:2]
    views, patches = (at_cosine(known[name], sides) for name in ("views", "patches"))
    common = {"grid": (15, 15), "size": (240, 240)}
    features = Features(views[:, 0], {12: patches}, views=views, **common)
    found = AnoVL().score(features, TextFeatures(*sides[:, None]))
    assert_close(found.image_score, known["score"], atol=1e-6)
    assert_close(found.anomaly_map[:, ::8, ::8], known["map"], atol=1e-6)


def test_sowa(monkeypatch):
    known, sides = load("sowa"), torch.eye(3)[:2]
    # what the adapters make of the tokens; these themselves serve the references alone
    words = at_cosine(known["cosine"], sides).unbind(1)
    monkeypatch.setattr(SOWA, "adapted", lambda self, i, block, x, features: words[i])
    raw = F.pad(at_distance(known["distance"]), (0, 1)).unbind(1)
    common = {
        "grid": (8, 8),
        "size": (112, 112),
        "weights": {"proj.weight": torch.eye(3), "proj.bias": torch.zeros(3)},
    }
    image = at_cosine(known["image_cosine"], sides)
    features = Features(image, dict(zip(LAYERS, raw, strict=True)), **common)
    text = TextFeatures(*sides[:, None])
    tensors = {"text.weight": torch.eye(3), "text.bias": torch.zeros(3)}
    head = SOWA()
    head.adapter_ = Adapter("seeded", "sowa", "seeded", "none", {}, tensors)
    found = head.score(features, text)
    assert_close(found.image_score, known["probability"], atol=1e-5)
    assert_close(found.anomaly_map[0, ::4, ::4], known["first"], atol=1e-5)
    one = torch.tensor([[[1.0, 0.0, 0.0]]])
    head.fit(Features(None, dict.fromkeys(LAYERS, one), **common))
    assert head.transductive  # the authors scale over all images
    pool = head.pool()
    pool.add(features, text)
    (found,) = pool.scores()
    assert_close(found.image_score, known["score"])
    assert_close(found.anomaly_map[:, ::4, ::4], known["map"], atol=1e-5)


def test_adaclip(monkeypatch):
    known = load("adaclip")
    words = at_cosine(known["cosine"], known["text"])  # (L, h·w, D)
    words[:, known["index"].long()] = known["top"]  # those that are clustered, as they were
    bias, width = 0.5, words.shape[-1]
    names = [*(f"projections.{i}" for i in range(len(LAYERS))), "image_projection"]
    tensors = {f"{name}.weight": torch.eye(width) for name in names}
    tensors |= {f"{name}.bias": torch.full((width,), bias) for name in names}
    head = AdaCLIP()
    head.adapter_ = Adapter("seeded", "adaclip", "seeded", "none", {}, tensors)

    def clusters_of_the_authors(rows, clusters, seed):  # who draw them without a seed
        assert clusters == 20 and len(rows) == len(known["labels"])
        return known["labels"][(rows @ known["top"].transpose(0, 1).flatten(1).T).argmax(dim=1)]

    monkeypatch.setattr(adaclip, "_k_means", clusters_of_the_authors)
    patches = {n: x[None] - bias for n, x in zip(LAYERS, words, strict=True)}
    features = Features(known["image"][None] - bias, patches, grid=(17, 17), size=(238, 238))
    found = head.score(features, TextFeatures(*known["text"][:, None]))
    assert_close(found.image_score, known["score"])
    assert_close(found.anomaly_map[:, ::8, ::8], known["map"])


@pytest.fixture
def adaptclip():
    """(reference outputs, maker of a head, features of images, text); no token is changed."""
    known, width = load("adaptclip"), 4 + 17 * 17 + 1
    tensors = {"patches.down.weight": torch.zeros(1, width)}
    tensors |= {"patches.up.weight": torch.zeros(width, 1)}
    for part, value in {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1}.items():
        tensors[f"patches.norm.{part}"] = torch.full((1,), float(value))
    tensors |= {n.replace("patches", "image"): x for n, x in tensors.items()}

    def make():
        head = AdaptCLIP()
        head.adapter_ = Adapter(
            "seeded", "adaptclip", "seeded", "none", {"layers": LAYERS}, tensors
        )
        return head

    basis = torch.eye(width)
    sides, own = basis[:4], basis[4:-1]

    def at_both(cosines, rest):  # (B, 2, ...) by fixed and by learned words
        along = sum(
            x[..., None] * (sides[at + 1] - sides[at]) / 2
            for at, x in zip((0, 2), cosines.unbind(1), strict=True)
        )
        return along + (1 - along.square().sum(dim=-1, keepdim=True)).sqrt() * rest

    tokens = at_both(known["patches"], own)
    features = Features(
        at_both(known["image"], own[0]),
        dict.fromkeys(LAYERS, tokens),
        grid=(17, 17),
        size=(238, 238),
    )
    text = TextFeatures(*sides[:2, None], learned=TextFeatures(*sides[2:, None]))
    return known, make, features, text


def test_adaptclip_by_words(adaptclip):
    known, make, features, text = adaptclip
    found = make().score(features, text)
    assert_close(found.image_score, known["score"])
    assert_close(found.anomaly_map[:, ::8, ::8], known["map"])


def test_adaptclip_with_normal_images(adaptclip, monkeypatch):
    known, make, features, text = adaptclip
    one = {n: x[:1] for n, x in features.patches.items()}
    # each patch has a reference of its own, which is far from all others
    spare = torch.eye(4 + 17 * 17 + 1)[-1]
    near = 1 - known["distance"][..., None]
    references = {
        n: near[:, i] * one[n] + (1 - near[:, i].square()).sqrt() * spare
        for i, n in enumerate(LAYERS)
    }
    head = make().fit(Features(None, references, grid=(17, 17), size=(238, 238)))
    compared = known["compared"], known["cells"]
    monkeypatch.setattr(head, "_compared", lambda *_: compared)  # the mean over the four blocks
    first = Features(features.image[:1], one, grid=(17, 17), size=(238, 238))
    found = head.score(first, text)
    assert_close(found.image_score, known["normals_score"])
    assert_close(found.anomaly_map[:, ::8, ::8], known["normals_map"])


def test_adaptclip_learns_from_pairs():
    known, head = load("adaptclip"), AdaptCLIP()
    tensors = {n.removeprefix("learned."): x.float() for n, x in known.items() if "learned" in n}
    for name, x in list(tensors.items()):
        if name.endswith(".bias"):
            layer = name.removesuffix(".bias")
            tensors |= {f"{layer}.running_{part}": torch.zeros_like(x) for part in ("mean", "var")}
    head.adapter_ = Adapter("seeded", "adaptclip", "seeded", "none", {"layers": LAYERS}, tensors)
    head.training = True
    unit = known["differences"].float()
    image, cells = head._compared(0, unit, unit, (8, 8))
    masks = torch.from_numpy(np.unpackbits(known["masks"].numpy())).view(4, 112, 112).float()
    p = upsample(cells.sigmoid(), (112, 112))
    of_map = (losses.focal(p, masks), losses.dice(p, masks), losses.dice(1 - p, 1 - masks))
    found = torch.stack([x.mean() for x in (losses.cross_entropy(image, known["labels"]), *of_map)])
    assert_close(found.double(), known["losses"])


def test_anomalyclip():
    known = load("anomalyclip")
    head = AnomalyCLIP()
    features = Features(
        image=known["image"], patches={24: known["patches"]}, grid=(17, 17), size=(238, 238)
    )
    found = head.score(features, TextFeatures(*known["text"][:, None]))
    assert_close(found.image_score, known["score"])
    assert_close(found.anomaly_map[:, ::4, ::4], known["map"])


@pytest.mark.parametrize("use", ["guide", "ignore"])
def test_laft(use):
    known = load("laft")
    common = {"patches": {12: torch.ones(1, 4, 64)}, "grid": (2, 2), "size": (32, 32)}
    head = LAFT(use, components=8).fit(Features(known["train"], **common))
    text = TextFeatures(known["prompts_a"], known["prompts_b"])
    found = head.score(Features(known["test"], **common), text)
    assert_close(found.image_score, known[f"{use}_score"])


def test_hftt():
    known = load("hftt")
    task, words = known["task"], known["words"]
    found = foreign_logit(known["test"], task, known["learned"], 0.01).sigmoid()
    assert_close(found, known["score"])
    learned = known["before"].requires_grad_()
    losses = text_losses(learned, task, known["sentences"], words, 0.01)
    loss = (losses["text_task"] + losses["text_words"]) / 2
    loss.backward()
    assert_close(loss.detach().double()[None], known["loss"], atol=1e-5)
    assert_close(learned.grad, known["gradient"], atol=3e-5)


def test_filo():
    """Tokens have a part for each map; kernels of one patch pass on that of their sum."""
    known, layers = load("filo"), (1, 2, 3)

    def vectors(cosine):
        return torch.cat([cosine, (1 - cosine.square().sum(-1, keepdim=True)).sqrt()], dim=-1)

    linear, convolved = vectors(known["cosine"]).unbind(1)[:4], vectors(known["cosine"])[:, 4:]
    compared = torch.cat([linear[0], *convolved.unbind(1)], dim=-1)
    ordinary = {n: F.pad(x, (0, 9)) for n, x in zip(layers, linear[1:], strict=True)}
    tensors = {"adapter.0.weight": torch.ones(1, 3), "adapter.2.weight": torch.zeros(3, 1)}
    for i in range(4):
        tensors |= {f"linear.{i}.weight": torch.eye(3, 12), f"linear.{i}.bias": torch.zeros(3)}
    for i, (name, (k, m)) in product(range(3), MMCI.items()):
        weight = torch.zeros(3, 12, k, m)
        weight[:, 3 + 3 * i : 6 + 3 * i, k // 2, m // 2] = torch.eye(3) / len(MMCI)
        tensors |= {f"convolutions.{name}.{i}.weight": weight}
        tensors |= {f"convolutions.{name}.{i}.bias": torch.zeros(3)}
    head = FiLo()
    head.adapter_ = Adapter("seeded", "filo", "seeded", "none", {"layers": layers}, tensors)
    # only the prompts of the position that their program chose are right
    rows = torch.tensor([0.0, -1, 0]).repeat(8, 9, 1)
    rows[torch.arange(8), known["place"].long()] = torch.tensor([0.0, 1, 0])
    boxes = tuple(
        tuple(
            Box(tuple(edges.tolist()), float(score), "damage")
            for edges, score in zip(*both, strict=True)
            if score > 0
        )
        for both in zip(known["box_edges"], known["box_score"], strict=True)
    )
    features = Features(
        vectors(known["image_cosine"]),
        {3: compared},
        grid=(8, 8),
        size=(112, 112),
        further=(Features(None, ordinary, grid=(8, 8), size=(112, 112)),),
        boxes=boxes,
    )
    found = head.score(features, TextFeatures(torch.eye(3)[:1].expand(8, 1, 3), rows))
    assert_close(found.image_score, known["score"])
    assert_close(found.anomaly_map[:, ::8, ::8], known["map"])
