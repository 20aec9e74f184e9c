"""`labelled` against a slow plain version, and what marked defects may change."""

import pytest
import torch

from vlad.errors import HeadError
from vlad.heads import load_head
from vlad.types import Features

LAYERS = (1, (2, 3))


def features_of(seed, images=2):
    generator = torch.Generator().manual_seed(seed)
    patches = {layer: torch.randn(images, 9, 6, generator=generator) for layer in LAYERS}
    return Features(None, patches, (3, 3), (48, 48))


NORMAL, DEFECTS, NEW = features_of(0), features_of(1), features_of(2, images=4)
COVER = torch.tensor([[0, 0.6, 0.5, 0.4, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0.1, 0.2, 0, 0, 0]])
MARKED = {"scratch": [(0, 1), (0, 2)], "dent": [(1, 5)]}  # patches from a half on, or the most


def fitted(**params):
    return load_head("labelled", **params).fit(NORMAL)


def knowing(**params):
    return fitted(**params).fit_known(DEFECTS, COVER, ["scratch", "dent"])


def named(head, features):
    """The names of the kinds that the scores refer to."""
    return [head.known[k] if k >= 0 else "" for k in head.score(features).kind.tolist()]


def distance(one, others):
    return min(1 - torch.cosine_similarity(one, x, dim=0).item() for x in others)


def plain(image, patch):
    """(distance to normal images, kind -> distance to it) of a patch."""
    normal, each = [], {kind: [] for kind in MARKED}
    for layer in LAYERS:
        one = NEW.patches[layer][image, patch]
        normal.append(distance(one, NORMAL.patches[layer].flatten(0, 1)))
        for kind, places in MARKED.items():
            each[kind].append(distance(one, [DEFECTS.patches[layer][at] for at in places]))
    return sum(normal) / 2, {kind: sum(x) / 2 for kind, x in each.items()}


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_as_a_plain_version(weight):
    head = knowing(weight=weight, top=0.34, sigma=0.0)
    scores, kinds = head.score(NEW).image_score, named(head, NEW)
    for image in range(4):
        found = []
        for patch in range(9):
            normal, each = plain(image, patch)
            kind = min(each, key=each.get)
            more = max(0, normal - each[kind])
            found.append((normal + weight * more, kind if more else ""))
        worst = sorted(found, reverse=True)
        assert kinds[image] == worst[0][1]
        assert scores[image].item() == pytest.approx(
            sum(score for score, _ in worst[:3]) / 3, abs=1e-5
        )
    assert set(kinds) & {"scratch", "dent"}


def test_without_known_defects_it_is_memory():
    memory = load_head("memory").fit(NORMAL).score(NEW)
    with pytest.warns(UserWarning, match="no known defects and scores as memory does"):
        found = fitted().score(NEW)
    torch.testing.assert_close(found.anomaly_map, memory.anomaly_map)
    torch.testing.assert_close(found.image_score, memory.image_score)


def test_nothing_scores_lower_than_by_memory_and_known_defects_score_higher():
    memory = load_head("memory").fit(NORMAL)
    head = knowing()
    assert (head.score(NEW).image_score >= memory.score(NEW).image_score - 1e-6).all()
    assert (head.score(NEW).anomaly_map >= memory.score(NEW).anomaly_map - 1e-6).all()
    assert (head.score(DEFECTS).image_score > memory.score(DEFECTS).image_score + 0.01).all()


def test_a_kind_is_that_of_the_nearest_defect_or_none():
    head = knowing()
    assert head.known == ["dent", "scratch"]
    assert named(head, DEFECTS) == ["scratch", "dent"]
    assert named(head, NORMAL) == ["", ""]


def test_fit_forgets_known_defects():
    head = knowing().fit(NORMAL)
    assert head.known == []
    with pytest.warns(UserWarning, match="no known defects"):
        assert head.score(NEW).kind is None


def test_known_defects_come_after_normal_images():
    with pytest.raises(HeadError, match="labelled compares with normal images"):
        load_head("labelled").fit_known(DEFECTS, COVER, ["scratch", "dent"])


def test_merge_joins_normal_images_and_known_defects():
    one = load_head("labelled").fit(NORMAL.at(0)).fit_known(DEFECTS.at(0), COVER[:1], ["scratch"])
    other = load_head("labelled").fit(NORMAL.at(1)).fit_known(DEFECTS.at(1), COVER[1:], ["dent"])
    one.memory_ = one.merge(one.memory_, other.memory_)
    whole = knowing()
    assert one.known == whole.known
    torch.testing.assert_close(one.score(NEW).anomaly_map, whole.score(NEW).anomaly_map)
    again = other.merge(one.memory_, other.memory_)
    assert len(again["1:dent"]) == 2 * len(other.memory_["1:dent"])


def test_patches_unlike_normal_images_are_those_that_memory_scores_highest():
    head = fitted(top=0.25)
    grid_map = load_head("memory", sigma=0.0, top=0.0).fit(NORMAL)
    expected = [grid_map.score(NEW.at(i)).image_score.item() for i in range(4)]
    marked = head.unlike_normal(NEW)
    assert marked.shape == (4, 9) and marked.sum() == 9
    assert knowing(top=0.25).unlike_normal(NEW).equal(marked)  # known defects change nothing
    best = max(range(4), key=expected.__getitem__)
    alone = fitted(top=0.0).unlike_normal(NEW)
    assert alone.sum() == 1 and alone[best].any()
