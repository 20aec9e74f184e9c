"""`self_reference` against a slow plain version, and what a user relies on."""

import pytest
import torch

from vlad.errors import HeadError
from vlad.heads import load_head
from vlad.types import BackboneInfo, Features

SIDE = 6


def features_of(tokens, size=(96, 96)):
    """(B, h·w, C) tokens of two blocks on a square grid."""
    side = round(tokens.shape[1] ** 0.5)
    other = tokens.roll(1, dims=-1) + 0.5
    return Features(None, {1: tokens, 2: other}, (side, side), size)


def random_tokens(images=3, seed=0):
    made = torch.randn(images, SIDE * SIDE, 8, generator=torch.Generator().manual_seed(seed))
    return made + 1


def plain(tokens, k):
    """Distances of one block of one image, patch by patch."""
    found = []
    for i, one in enumerate(tokens):
        others = [x for j, x in enumerate(tokens) if j != i]
        cosines = [torch.cosine_similarity(one, x, dim=0).item() for x in others]
        found.append(1 - sorted(cosines, reverse=True)[k - 1])
    return torch.tensor(found)


@pytest.mark.parametrize(("rank", "k"), [(0.03, 1), (0.1, 4), (0.5, 18), (1.0, 35)])
def test_as_a_plain_version(rank, k):
    features = features_of(random_tokens())
    found = load_head("self_reference", rank=rank, sigma=0.0, top=0.1).score(features)
    for place in range(3):
        layers = [plain(x[place], k) for x in features.patches.values()]
        expected = (layers[0] + layers[1]) / 2
        worst = expected.sort(descending=True).values[:3].mean()
        assert found.image_score[place].item() == pytest.approx(worst.item(), abs=1e-5)


def test_the_map_at_the_border_is_no_higher_than_inside():
    features = features_of(random_tokens(1), size=(SIDE, SIDE))
    found = load_head("self_reference", sigma=0.0).score(features).anomaly_map[0]
    distance = sum(plain(x[0], 1) for x in features.patches.values()) / 2
    expected = distance.reshape(SIDE, SIDE).clone()
    for i in range(SIDE):
        for j in range(SIDE):
            inside = expected[min(max(i, 1), SIDE - 2), min(max(j, 1), SIDE - 2)]
            expected[i, j] = min(expected[i, j], inside)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_long_images_are_compared_in_blocks(monkeypatch):
    head, features = load_head("self_reference"), features_of(random_tokens())
    whole = head.score(features)
    monkeypatch.setattr("vlad.heads.self_reference.BLOCK", 100)
    parts = head.score(features)
    torch.testing.assert_close(parts.anomaly_map, whole.anomaly_map)


def test_a_defect_of_a_few_like_patches_stands_out_of_a_texture():
    noise = torch.randn(1, 256, 8, generator=torch.Generator().manual_seed(1))
    tokens = torch.ones(1, 256, 8) + 0.1 * noise
    defect = [100, 101, 116, 117]
    tokens[0, defect] = torch.tensor([1.0, -1.0] * 4)
    found = load_head("self_reference", sigma=0.0).score(features_of(tokens, size=(16, 16)))
    highest = found.anomaly_map[0].flatten().topk(4).indices
    assert sorted(highest.tolist()) == defect
    # the nearest patch of a defect is another of the same defect
    nearest = load_head("self_reference", sigma=0.0, rank=0.001)
    found = nearest.score(features_of(tokens, size=(16, 16))).anomaly_map[0].flatten()
    assert found[defect].max() < found.median()


def test_layers_are_those_the_backbone_names():
    info = BackboneInfo("x", 12, 8, 8, 16, 96, has_text=False, compare=(2, (4, 5)))
    assert load_head("self_reference").spec(info).layers == (2, (4, 5))
    assert load_head("self_reference", layers=[0.5]).spec(info).layers == (6,)


def test_an_image_of_one_patch():
    with pytest.raises(HeadError, match="only one; raise the image size"):
        load_head("self_reference").score(features_of(torch.ones(2, 1, 8)))


def test_few_patches_and_patches_all_alike():
    found = load_head("self_reference").score(features_of(torch.ones(1, 4, 8)))
    assert found.image_score.abs().item() < 1e-6
