"""MetaUAS gives the numbers of its authors' program behind the encoder; the rest is compared with
slow plain versions."""

from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest
import torch

from vlad.adapters import Adapter
from vlad.adapters.checkpoint import read_checkpoint
from vlad.adapters.layouts import ours, tensor_shapes, theirs
from vlad.backbones import load_backbone
from vlad.errors import AdapterError, BackboneError, HeadError
from vlad.heads.metauas import MetaUAS
from vlad.maths.changes import ALIGNED, aligned, change_logit, decoded
from vlad.scoring.panel import Panel
from vlad.types import BackboneInfo, Features, FeatureSpec

B4 = BackboneInfo(
    name="efficientnet-b4",
    depth=4,
    width=448,
    embed_dim=1792,
    patch_size=16,
    image_size=256,
    has_text=False,
    pyramid=(48, 32, 56, 160, 448),
)
PARAMS = {"layers": [4], "width": 256}
SIDE = 64


def seeded(key, shape, seed=0):
    """A tensor of the reference case by its name there, exact in half precision."""
    random = np.random.Generator(np.random.PCG64([seed, crc32(f"head.metauas.{key}".encode())]))
    x = random.standard_normal(size=shape, dtype=np.float32)
    last = key.split(".")[-1]
    if last == "running_var":
        x = np.abs(1 + 0.2 * x)
    elif last in ("running_mean", "bias"):
        x = 0.1 * x
    elif last == "weight":
        x = 1 + 0.1 * x if len(shape) == 1 else x / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(x.astype(np.float16).astype(np.float32))


@pytest.fixture(scope="module")
def tensors():
    shapes = tensor_shapes("metauas", B4, PARAMS)
    return {name: seeded(theirs("metauas", name), shape) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def pyramids():
    """The drawn maps of an image and of a normal image, finest first."""
    return tuple(
        tuple(
            seeded(f"{of}.{level}", (1, channels, SIDE >> level, SIDE >> level))
            for level, channels in enumerate(B4.pyramid, 1)
        )
        for of in ("query", "prompt")
    )


@pytest.fixture(scope="module")
def features(pyramids):
    return tuple(Features(None, {}, (4, 4), (SIDE, SIDE), pyramid=x) for x in pyramids)


@pytest.fixture(scope="module")
def head(tensors):
    made = MetaUAS(Adapter("theirs", "metauas", "any", "nothing", PARAMS, tensors))
    made.spec(B4)
    return made


def close(found, expected):
    torch.testing.assert_close(found, torch.as_tensor(expected), atol=5e-5, rtol=0)


def compare(known, tensors, pyramids, head, features, every, channels, few):
    """All that the reference has, or a part of it."""
    query, prompt = pyramids
    for i in range(ALIGNED):
        found = aligned(query[-1 - i], prompt[-1 - i], tensors, f"align.{i}")
        close(found[0, ::channels], known[f"aligned{i}"])
    seen = (torch.cat([q, aligned(q, p, tensors, f"align.{i}")], dim=1)
            for i, (q, p) in enumerate(zip(query[:1:-1], prompt[:1:-1], strict=True)))  # fmt: skip
    found = decoded([*seen, *query[1::-1]], tensors, training=False)
    close(found[0, ::few, ::4, ::4], known["decoded"])
    scores = head.fit(features[1]).score(features[0])
    close(scores.anomaly_map[0, ::every, ::every], known["mask"])
    close(scores.image_score, scores.anomaly_map.flatten(1).amax(dim=1))


def test_a_part_of_the_reference_that_every_clone_has(
    tensors, pyramids, head, features, request
):  # fmt: skip
    with np.load(request.path.parent.parent / "data" / "metauas.npz") as arrays:
        compare(dict(arrays), tensors, pyramids, head, features, every=2, channels=8, few=4)


def test_all_of_the_reference(parity, tensors, pyramids, head, features):
    case = parity.case("metauas_head")
    known = {name.replace(".", ""): x[0] for name, x in case.items() if name.startswith("aligned")}
    known |= {"decoded": case["decoded"], "mask": case["mask"][0]}
    compare(known, tensors, pyramids, head, features, every=1, channels=1, few=1)


def test_names_of_the_authors_are_read(parity):
    from json import loads

    shapes = loads((parity.folder / "cases" / "metauas_head.json").read_text())["shapes"]
    found = {ours("metauas", name): tuple(shape) for name, shape in shapes.items()}
    assert found == tensor_shapes("metauas", B4, PARAMS)


def test_a_released_file_is_read_without_its_encoder(tensors, tmp_path):
    state = {theirs("metauas", name): x for name, x in tensors.items()}
    state |= {"encoder._conv_stem.weight": torch.ones(48, 3, 3, 3)}
    state |= {"decoder.blocks.0.conv1.1.num_batches_tracked": torch.tensor(9)}
    torch.save(state, tmp_path / "metauas-256.ckpt")
    found, params = read_checkpoint(tmp_path / "metauas-256.ckpt", "metauas", B4)
    assert params == PARAMS
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], x) for name, x in tensors.items())


def test_it_needs_maps_alone(head):
    assert head.spec(B4) == FeatureSpec(pyramid=True, image=False)


def test_alignment_is_attention_without_a_scale(tensors, pyramids):
    query, prompt = (of[-1][0].flatten(1).T.double() for of in pyramids)
    weight, bias = (tensors[f"align.0.{part}"].double() for part in ("weight", "bias"))
    weight = weight[:, :, 0, 0]
    for place in range(4):
        likeness = torch.stack(
            [(weight @ query[place] + bias) @ (weight @ x + bias) for x in prompt]
        )
        share = likeness.exp() / likeness.exp().sum()
        expected = (share[:, None] * prompt).sum(dim=0)
        found = aligned(pyramids[0][-1], pyramids[1][-1], tensors, "align.0")
        close(found[0].flatten(1)[:, place], expected.float())


def test_maps_of_several_normal_images_are_averaged(head, features):
    other = replace(features[1], pyramid=tuple(-x for x in features[1].pyramid))
    alone = [head.fit(one).score(features[0]).anomaly_map for one in (features[1], other)]
    both = head.fit(Features.cat([features[1], other])).score(features[0])
    close(both.anomaly_map, torch.stack(alone).mean(dim=0))
    close(both.image_score, both.anomaly_map.flatten(1).amax(dim=1))
    assert (alone[0] - alone[1]).abs().max() > 1e-3


def test_where_things_lie_in_the_normal_image_does_not_matter(head, features):
    turned = replace(features[1], pyramid=tuple(x.rot90(1, (2, 3)) for x in features[1].pyramid))
    maps = [head.fit(one).score(features[0]).anomaly_map for one in (features[1], turned)]
    close(*maps)


def test_a_fit_on_more_images_is_that_of_all_of_them(head, features):
    one = dict(head.fit(features[1]).memory_)
    two = dict(head.fit(features[0]).memory_)
    merged = head.merge(one, two)
    whole = head.fit(Features.cat([features[1], features[0]])).memory_
    assert merged.keys() == whole.keys()
    assert all(torch.equal(merged[name], x) for name, x in whole.items())


def test_it_learns_from_pairs_what_it_scores_later(head, features):
    query, prompt = features
    logits = head.pair_logits(query, None, prompt)
    maps = head.layer_maps(logits.patches, query.grid, query.size)
    scores = head.fit(prompt).score(query)
    close(maps[:, 0], scores.anomaly_map)
    close(logits.image[:, 0].sigmoid(), scores.image_score)
    with pytest.raises(HeadError, match="normal one"):
        head.logits(query)


def test_in_training_norms_use_the_batch(tensors, pyramids):
    both = [torch.cat([x, x.flip(-1)]) for x in pyramids[0]]
    learned = {name: x.clone() for name, x in tensors.items()}
    trained = change_logit(both, both, learned, training=True)
    assert not torch.allclose(trained, change_logit(both, both, tensors, training=False))
    moved = {name for name, x in learned.items() if not torch.equal(x, tensors[name])}
    assert moved == {name for name in tensors if "running_" in name}


def test_a_backbone_without_such_maps_is_refused(tensors):
    with pytest.raises(AdapterError, match="some/model does not have"):
        tensor_shapes("metauas", replace(B4, name="some/model", pyramid=()), PARAMS)


def test_other_runtimes_are_refused():
    backbone = load_backbone("vlad-tiny", device="cpu")
    backbone.passes, backbone.runtime = lambda *_, **__: None, "onnx"
    with pytest.raises(BackboneError, match=r"Head mine reads .* not onnx"):
        Panel(backbone, {"mine": NeedsMaps()})


class NeedsMaps(MetaUAS):
    """The same without an adapter."""

    def spec(self, backbone):
        return FeatureSpec(pyramid=True, image=False)
